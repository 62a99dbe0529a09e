/** Grammars over bytes, as small immutable graphs that share their parts. */

/** A set of texts. Rules may refer to each other in circles; a rule's texts are never empty. */
export type Node =
  | { readonly kind: "byte"; readonly set: Uint8Array; readonly isNullable: false }
  | { readonly kind: "seq"; readonly parts: readonly Node[]; readonly isNullable: boolean }
  | { readonly kind: "alt"; readonly parts: readonly Node[]; readonly isNullable: boolean }
  | Repeat
  | Rule;

/** `body` at least min and at most max times. The body's texts are never empty. */
export interface Repeat {
  readonly kind: "repeat";
  readonly body: Node;
  readonly min: number;
  readonly max: number;
  readonly isNullable: boolean;
}

/** A named part, whose body is set once it is known. */
export interface Rule {
  readonly kind: "rule";
  readonly isNullable: false;
  body: Node;
}

export const EMPTY: Node = { kind: "seq", parts: [], isNullable: true };
/** No text at all. */
export const NEVER: Node = { kind: "alt", parts: [], isNullable: false };

export function rule(): Rule {
  return { kind: "rule", isNullable: false, body: NEVER };
}

export function seq(...parts: readonly Node[]): Node {
  return seqOf(parts);
}

export function seqOf(parts: readonly Node[]): Node {
  if (parts.includes(NEVER)) return NEVER;
  const some = parts.filter((part) => part !== EMPTY);
  if (some.length === 0) return EMPTY;
  return some.length === 1 ? some[0]! : { kind: "seq", parts: some, isNullable: some.every((part) => part.isNullable) };
}

export function alt(...parts: readonly Node[]): Node {
  return altOf(parts);
}

export function altOf(parts: readonly Node[]): Node {
  const some = [...new Set(parts)].filter((part) => part !== NEVER);
  if (some.length === 0) return NEVER;
  return some.length === 1 ? some[0]! : { kind: "alt", parts: some, isNullable: some.some((part) => part.isNullable) };
}

export function optional(node: Node): Node {
  return alt(node, EMPTY);
}

/** Counts are never written out, so they may be of any size. */
export function repeat(body: Node, min: number, max = Number.POSITIVE_INFINITY): Node {
  if (body.isNullable) return repeat(nonEmpty(body), 0, max);
  if (max < min) return NEVER;
  if (max === 0 || body === EMPTY) return EMPTY;
  if (body === NEVER) return min === 0 ? EMPTY : NEVER;
  if (min === 1 && max === 1) return body;
  return { kind: "repeat", body, min, max, isNullable: min === 0 };
}

/** Single bytes from lo to hi, both included. */
export function byteRange(lo: number, hi: number): Node {
  return { kind: "byte", set: new Uint8Array(256).fill(1, lo, hi + 1), isNullable: false };
}

const singles = Array.from({ length: 256 }, (_, byte) => byteRange(byte, byte));

/** The UTF-8 of one text. */
export function literal(text: string): Node {
  return bytes(new TextEncoder().encode(text));
}

function bytes(given: Uint8Array): Node {
  return seqOf(Array.from(given, (byte) => singles[byte]!));
}

/** One of the texts. Common beginnings are shared, so that at most one way is open at any place. */
export function oneOfTexts(texts: readonly string[]): Node {
  const encoder = new TextEncoder();
  return tree(
    [...new Set(texts)].map((text) => encoder.encode(text)),
    0,
  );
}

function tree(texts: readonly Uint8Array[], at: number): Node {
  if (texts.length === 1) return bytes(texts[0]!.subarray(at));
  let end = at;
  const [first] = texts;
  if (first === undefined) return NEVER;
  while (end < first.length && texts.every((text) => text[end] === first[end])) end++;
  const groups = Map.groupBy(texts, (text) => text[end]);
  const branches = [...groups].map(([byte, group]) =>
    byte === undefined ? EMPTY : seq(singles[byte]!, tree(group, end + 1)),
  );
  return seq(bytes(first.subarray(at, end)), altOf(branches));
}

/** The texts of a node without the empty one. */
function nonEmpty(node: Node): Node {
  if (!node.isNullable) return node;
  switch (node.kind) {
    case "alt":
      return altOf(node.parts.map(nonEmpty));
    case "repeat":
      return seq(node.body, repeat(node.body, 0, node.max - 1));
    case "seq": {
      let rest: Node = EMPTY;
      let found: Node = NEVER;
      // Whichever part is the first that is not empty: those before it are.
      for (const part of node.parts.toReversed()) {
        found = alt(seq(nonEmpty(part), rest), found);
        rest = seq(part, rest);
      }
      return found;
    }
    default:
      return node;
  }
}
