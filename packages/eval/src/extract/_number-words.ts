/** English number words. */

const small =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(
    " ",
  );
const tens = "twenty thirty forty fifty sixty seventy eighty ninety".split(" ");
const scales: Readonly<Record<string, number>> = { thousand: 1e3, million: 1e6, billion: 1e9 };
const word = `(?:${[...small.toReversed(), ...tens, "hundred", ...Object.keys(scales)].join("|")})(?![\\p{L}\\d])`;
const phrase = new RegExp(
  `(?<![\\p{L}\\d])(?<sign>(?:negative|minus)\\s{1,3})?${word}(?:(?:\\s{1,3}and)?[\\s-]${word}){0,12}`,
  "giu",
);

export interface NumberPhrase {
  readonly start: number;
  readonly end: number;
  readonly value: number;
}

/** "twenty-five" is 25, "two hundred and six" 206, "negative three" -3. In the order of the text. */
export function numberPhrases(text: string): NumberPhrase[] {
  return [...text.matchAll(phrase)].map(({ index, 0: found, groups }) => ({
    start: index,
    end: index + found.length,
    value: (groups?.sign ? -1 : 1) * valueOf(found.toLowerCase()) || 0,
  }));
}

function valueOf(found: string): number {
  let total = 0;
  let group = 0;
  for (const part of found.split(/[\s-]+/)) {
    const unit = small.indexOf(part);
    const ten = tens.indexOf(part);
    const scale = scales[part];
    if (unit >= 0) group += unit;
    else if (ten >= 0) group += 20 + 10 * ten;
    else if (part === "hundred") group = (group || 1) * 100;
    else if (scale) {
      total += (group || 1) * scale;
      group = 0;
    }
  }
  return total + group;
}
