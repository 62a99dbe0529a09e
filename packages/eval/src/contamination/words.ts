/** Texts as they are compared: words without case, marks and spacing; numbers by their value. */

/** Scripts that put no blanks between words: each character stands for itself. */
const UNSPACED = String.raw`\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}`;
/** 1,234.5, 12, 0.5 and .5. */
const NUMBER = String.raw`(?<!\d,)\d{1,3}(?:,\d{3}){1,6}(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|(?<![^\s\$\(])\.\d+`;
/** Arithmetic, not hyphens: what stands before a number. */
const OPERATOR = String.raw`[\-+*\/^=<>](?=[\s\(\-]{0,3}\.?\d)`;

const asciiWords = new RegExp(String.raw`[a-z]+|${NUMBER}|${OPERATOR}`, "g");
const allWords = new RegExp(
  String.raw`[[\p{L}\p{M}]--[${UNSPACED}]]+|${NUMBER}|\p{N}+|[${UNSPACED}]\p{M}*|${OPERATOR}`,
  "gv",
);
const isAscii = /^\p{ASCII}*$/u;
const isNumberLike = /^[\p{N}.\-+*/^=<>]/u;

/** As other signs are written in ASCII once compatibility forms are resolved: hyphens and short dashes, minus, times, divided by, the bar of ½. */
const signs: readonly (readonly [RegExp, string])[] = [
  [/[\u2010-\u2013\u2212]/g, "-"],
  [/\u00D7/g, "*"],
  [/[\u00F7\u2044]/g, "/"],
];

/** "one" is left out: it is a pronoun more often than a number. */
const numberWords = new Map([
  ..."two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
    .split(" ")
    .map((word, i) => [word, String(i + 2)] as const),
  ..."twenty thirty forty fifty sixty seventy eighty ninety"
    .split(" ")
    .map((word, i) => [word, String(10 * (i + 2))] as const),
]);

/** Words that a question can gain or lose and still ask the same. Words that change what is asked ("from", "not", "more", "how") are not among them. */
const functionWords = new Set(
  (
    "a an the of to in on at for by with as and then also so that this these those there it its he she they him her them his their i you we my your our " +
    "is are was were be been being am do does did has have had will would can could s t"
  ).split(" "),
);

/**
 * The words, numbers and operators of a text, in Unicode's NFKC and lower case; punctuation and spacing fall away. Numbers are plain: "1,000.50" is 1000.5, "seven" 7.
 */
export function wordsOf(text: string): string[] {
  const words = isAscii.test(text)
    ? text.toLowerCase().match(asciiWords)
    : signs
        .reduce((t, [sign, by]) => t.replaceAll(sign, by), text.normalize("NFKC"))
        .toLowerCase()
        .match(allWords);
  return (words ?? []).map((word) => (isNumberLike.test(word) ? plainNumber(word) : (numberWords.get(word) ?? word)));
}

/** The words that say what is asked: without articles, auxiliaries, pronouns and the like. English; in other languages all words count. */
export function contentOf(words: readonly string[]): string[] {
  return words.filter((word) => !functionWords.has(word));
}

/** Is a word of `wordsOf` a number or an operator? Questions that differ in one of these are different questions. */
export function isNumeric(word: string): boolean {
  return isNumberLike.test(word);
}

/** The same for texts whose words are the same, however they are divided ("Mary 's" and "Mary's", "howmany"); numbers are kept apart. */
export function keyOf(words: readonly string[]): string {
  let key = "";
  let wasNumber = false;
  for (const word of words) {
    const isNumber = isNumeric(word);
    key += isNumber && wasNumber ? ` ${word}` : word;
    wasNumber = isNumber;
  }
  return key;
}

function plainNumber(word: string): string {
  if (!/^[\d.]/.test(word)) return word;
  const plain = word
    .replaceAll(",", "")
    .replace(/^0+(?=\d)/, "")
    .replace(/^\./, "0.");
  return plain.includes(".") ? plain.replace(/\.?0+$/, "") : plain;
}
