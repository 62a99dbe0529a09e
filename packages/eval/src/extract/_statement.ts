/** Where a text says "this is my answer". */

export interface Statement {
  readonly kind: "answer" | "boxed" | "hashes" | "correction";
  /** What is stated: text.slice(from, to). Ends with the box, or where the next statement begins. */
  readonly from: number;
  readonly to: number;
  /** "The answer is not ...". */
  readonly isNegated: boolean;
}

/** What may stand between "answer" and "is": "to the question", "(in cm)", "I get", ", therefore,". Bounded, so that scanning stays linear. */
const between = String.raw`(?:\s{0,3}\([^()\n]{0,40}\))?(?:\s{1,3}(?:to|for|of|in|that|I|we|he|she|they)(?!\p{L})[^.:=?!\n]{0,80}?)?(?:,?\s(?:therefore|thus|then|hence|so),?)?`;
const copula = String.raw`(?:\s{1,3}(?:(?:is|are|was)(?<negation>n['’]t)?|equals|(?:would|will|should|must|has\sto)\sbe|comes?\s(?:out\s)?to)(?!\p{L})|\s{0,3}[:=])`;

/**
 * A finder of statements, in order: "ANSWER is", "ANSWER:", "\boxed{}", "#### ", "Correction:". ANSWER is "answer" or a "correct",
 * "right", "final" one of the nouns. Linear in the text.
 */
export function statementFinder(nouns: readonly string[]): (text: string) => Statement[] {
  const noun = String.raw`(?:answers?|(?:correct|right|final|best|proper)\s(?:${nouns.join("|")}))`;
  const cue = new RegExp(
    String.raw`(?<answer>(?<!\p{L})${noun}(?!\p{L})${between}${copula})|(?<boxed>\\(?:boxed|fbox)\s{0,3}\{)|(?<hashes>####(?!#))` +
      String.raw`|(?<correction>(?<!\p{L})(?:correction:|(?:actually|correction|rather|sorry),?\s(?:it|that|this)(?:['’]s|\sis|\sshould\sbe|\smust\sbe)(?!\p{L})))`,
    "giu",
  );
  return (text) => {
    const found = [...text.matchAll(cue)];
    return found.map(({ index, 0: { length }, groups = {} }, i) => {
      const from = index + length;
      const next = found[i + 1]?.index ?? text.length;
      const kind = groups.answer ? "answer" : groups.boxed ? "boxed" : groups.hashes ? "hashes" : "correction";
      const to = kind === "boxed" ? closingBrace(text, from, next) : next;
      const isNegated =
        groups.negation !== undefined || /^\s*(?:not|never)(?!\p{L})/iu.test(text.slice(from, from + 20));
      return { kind, from, to, isNegated };
    });
  };
}

/** Of the brace that is open at `from`; `end` where it is not closed before. */
function closingBrace(text: string, from: number, end: number): number {
  for (let i = from, depth = 1; i < end; i++) {
    if (text[i] === "{") depth++;
    if (text[i] === "}" && --depth === 0) return i;
  }
  return end;
}

/** Where the sentence that begins at `from` ends: a full stop that is no decimal point, "!", "?", or a line break; `to` at most. Blank lines before it are passed over. */
export function sentenceEnd(text: string, from: number, to: number): number {
  const part = text.slice(from, to);
  const begin = Math.max(part.search(/\S/), 0);
  const length = part.slice(begin).search(/[!?\n]|\.(?!\d)/);
  return length < 0 ? to : from + begin + length;
}

/** Of "not X but Y": where Y begins, within the sentence; undefined where only X is denied. */
export function afterBut(text: string, { from, to }: Pick<Statement, "from" | "to">): number | undefined {
  const sentence = text.slice(from, sentenceEnd(text, from, to));
  const but = /(?<!\p{L})(?:but(?:\srather)?|rather|instead|it\sis|it['’]s)(?!\p{L})/iu.exec(sentence);
  return but ? from + but.index + but[0].length : undefined;
}
