/** A set of words that answers: which of them begin at this place of a text? */

interface Node {
  next: Map<number, Node> | undefined;
  value: number | undefined;
}

/** Words with a number each, by UTF-16 units. */
export class PrefixTree {
  readonly #root: Node = { next: undefined, value: undefined };

  constructor(words: Iterable<readonly [word: string, value: number]>) {
    for (const [word, value] of words) {
      let node = this.#root;
      for (let i = 0; i < word.length; i++) {
        node.next ??= new Map();
        let child = node.next.get(word.charCodeAt(i));
        if (!child) node.next.set(word.charCodeAt(i), (child = { next: undefined, value: undefined }));
        node = child;
      }
      node.value = value;
    }
  }

  /** Calls `found` for each word at `at`, shortest first. */
  walk(text: string, at: number, found: (end: number, value: number) => void): void {
    let node: Node | undefined = this.#root;
    for (let i = at; i < text.length; i++) {
      node = node.next?.get(text.charCodeAt(i));
      if (!node) return;
      if (node.value !== undefined) found(i + 1, node.value);
    }
  }

  /** End and value of the longest word at `at`. */
  longest(text: string, at: number): { readonly end: number; readonly value: number } | undefined {
    let last: { end: number; value: number } | undefined;
    this.walk(text, at, (end, value) => {
      last = { end, value };
    });
    return last;
  }
}
