/** From tokens to text, all at once or as they come: both are the same walk, so the sum of what is streamed is what is decoded. */

/** Text for ids that arrive one by one. */
export interface StreamDecoder {
  /** Text that this id completes; empty while a character is incomplete. */
  push(id: number): string;
  /** What is left at the end: U+FFFD if the last character never became whole. */
  flush(): string;
}

/** What one token adds to a text: text, or raw bytes that may be part of a character. */
export type TokenText = string | Uint8Array;

/** How the tokens of a vocabulary become text. */
export interface Detokenizer {
  /** Undefined for an id that means nothing: it is left out, as the reference does. */
  textOf(id: number): TokenText | undefined;
  /** Blanks to be taken off the beginning of a text: SentencePiece puts one before the first word. */
  readonly leadingBlanks: number;
}

/** A decoder at the beginning of a text, or (`isContinuation`) behind some other text, where leading blanks stay. */
export function streamTokens({ textOf, leadingBlanks }: Detokenizer, isContinuation = false): StreamDecoder {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  let blanks = isContinuation ? 0 : leadingBlanks;
  const trim = (text: string): string => {
    let cut = 0;
    while (cut < text.length && cut < blanks && text[cut] === " ") cut++;
    if (text.length > 0) blanks = cut === text.length ? blanks - cut : 0;
    return text.slice(cut);
  };
  return {
    push(id) {
      const text = textOf(id);
      if (text === undefined) return "";
      // Bytes of a character that text interrupts come out as U+FFFD.
      return trim(typeof text === "string" ? utf8.decode() + text : utf8.decode(text, { stream: true }));
    },
    flush: () => trim(utf8.decode()),
  };
}

/**
 * The same for a decoder of which only the whole is known, and which looks at neighbours: decodes a short growing list, and starts a new one where the text was
 * complete, keeping the ids of the last piece as context.
 */
export function streamWindows(decode: (ids: readonly number[]) => string): StreamDecoder {
  let context: number[] = [];
  let pending: number[] = [];
  const take = (): string => {
    const text = decode([...context, ...pending]).slice(decode(context).length);
    // A token that left no trace is no context: the next one would look like the first of all.
    if (text !== "") context = pending;
    pending = [];
    return text;
  };
  return {
    push(id) {
      pending.push(id);
      // A character has at most four bytes: after that many tokens U+FFFD is no beginning of one.
      return pending.length < 5 && decode([...context, ...pending]).endsWith("\uFFFD") ? "" : take();
    },
    flush: () => (pending.length > 0 ? take() : ""),
  };
}
