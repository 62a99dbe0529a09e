/** Numbers as people and models write them, in English notation. */
import { withAsciiDigits } from "./_digits.ts";

export interface Quantity {
  readonly start: number;
  /** Behind the number itself: before its unit. */
  readonly end: number;
  /** Canonical decimal: an optional "-", digits without leading zeros, a point only before digits that do not end in zero. */
  readonly value: string;
}

/** Larger exponents are no answers, and would make long texts of short ones. */
const largestExponent = 400;

const vulgar: Readonly<Record<string, string>> = Object.fromEntries(
  "½1/2 ¼1/4 ¾3/4 ⅓1/3 ⅔2/3 ⅕1/5 ⅖2/5 ⅗3/5 ⅘4/5 ⅙1/6 ⅚5/6 ⅛1/8 ⅜3/8 ⅝5/8 ⅞7/8"
    .split(" ")
    .map((pair) => [pair.slice(0, 1), pair.slice(1)]),
);
const raised = "⁰¹²³⁴⁵⁶⁷⁸⁹";

const notations: readonly (readonly [RegExp, string | ((found: string, ...groups: string[]) => string)])[] = [
  [/[\u2212\uFE63\uFF0D\u2013]/g, "-"],
  [/\u2014/g, " "],
  [/\u2044/g, "/"],
  [/(?<=\d)\{,\}(?=\d)/g, ","],
  // SI's thin spaces between groups of three, and plain ones behind a currency sign.
  [/(?<=\d)(?:\\[,!]|[\u00A0\u2009\u202F])(?=\d{3}(?!\d))/g, ","],
  [/(?<=[$€£¥₹]\s?)\d{1,3}(?: \d{3}){1,6}(?!\d|,\d)/g, (found) => found.replaceAll(" ", ",")],
  [/\\[,!]/g, ""],
  [/\\([$%#&_])/g, "$1"],
  [/\^?\{?\\circ\}?/g, "°"],
  [/\\(?:times|cdot)(?![A-Za-z])|[×·]/g, "*"],
  [/\\div(?![A-Za-z])|÷/g, "/"],
  [/\\approx(?![A-Za-z])/g, "≈"],
  [/(?<=[\p{L}\d])(?=\\[dt]?frac(?![a-z]))/gu, " "],
  [/\\[dt]?frac\s?\{\s?(-?[\d.,]{1,40})\s?\}\s?\{\s?([\d.,]{1,40})\s?\}/g, "$1/$2"],
  [/\\[dt]?frac\s?(\d)\s?(\d)/g, "$1/$2"],
  [/\^\s?\{\s?(-?\d{1,9})\s?\}/g, "^$1"],
  [
    new RegExp(`(⁻?)([${raised}]{1,9})`, "g"),
    (_, sign, digits) => `^${sign && "-"}${[...digits!].map((digit) => raised.indexOf(digit)).join("")}`,
  ],
  [new RegExp(`(?<=[\\p{L}\\d])(?=[${Object.keys(vulgar).join("")}])`, "gu"), " "],
  [new RegExp(`[${Object.keys(vulgar).join("")}]`, "g"), (found) => vulgar[found]!],
  [/(?<![\p{L}\d])(?:[Rr]s|INR|USD|US|CAD|AUD|EUR|GBP)\.?(?=\s?[$€£¥₹]?\s?-?\d)/gu, "₹"],
];

/** The text in the one notation that `quantities` reads: ASCII digits, "-", "*", "1/2", "10^3"; LaTeX's \frac, \times, \$ included. */
export const plainNotation = (text: string): string =>
  notations.reduce((done, [pattern, by]) => done.replaceAll(pattern, by as string), withAsciiDigits(text));

// 12,345.6, 1,00,000 (Indian groups), 12.5, .5
const decimal = String.raw`(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,2}(?:,\d{2}){1,5},\d{3}(?!\d)|\d+)(?:\.\d+)?|(?<![\p{L}\d])\.\d+)`;
const pattern = new RegExp(
  // 2021-03-04, 3/4/2021; 2:30, 1:4: no numbers, but for 3:00, which is 3.
  String.raw`(?<date>\d{1,4}([-/])\d{1,2}\2\d{1,4}(?!\d))|(?<clock>\d{1,9}):(?<minutes>\d{1,9}(?::\d{1,9}){0,3})` +
    // 1 1/2, 1 and 1/2
    String.raw`|(?<whole>\d{1,15})(?:\sand)?\s{1,3}(?<part>\d{1,15})\s?/\s?(?<parts>\d{1,15})(?![\d.]*\d|\s?/)` +
    String.raw`|(?<number>${decimal})(?:` +
    // 3e5, 1.5 * 10^3
    String.raw`e(?<exponent>[+-]?\d{1,9})(?![\p{L}\d])|\s{0,3}[x*]\s{0,3}10\s?\^\s?\(?(?<tens>[+-]?\d{1,9})\)?` +
    // 2^10, 3/4, and words of size
    String.raw`|\s?\^\s?\(?(?<power>[+-]?\d{1,9})\)?|\s?/\s?(?<divisor>${decimal})(?!\s?[/^])|\s{0,3}(?<scale>hundred|thousand|million|billion|trillion)(?!\p{L})|(?<kilo>k)(?![\p{L}\d])` +
    String.raw`)?`,
  "giu",
);
const zeros: Readonly<Record<string, number>> = { hundred: 2, thousand: 3, million: 6, billion: 9, trillion: 12 };

/**
 * The numbers from `from` on of a text in plain notation. What is left of `from` is no operand: "- 5" there is negative.
 * No numbers: exponents of units (cm^2), digits in words (x1, H2O), dates, times other than the full hour, ratios.
 */
export function* quantities(text: string, from = 0): Generator<Quantity> {
  for (let next = from; ;) {
    pattern.lastIndex = next;
    const match = pattern.exec(text);
    if (!match) return;
    const [start, end] = [match.index, match.index + match[0].length];
    const size = isPartOfWord(text, start) ? undefined : valueOf(match.groups ?? {});
    if (size !== undefined)
      yield { start, end, value: size !== "0" && isNegative(text, start, from) ? `-${size}` : size };
    next = end;
  }
}

/** A number's shortest decimal text, without an exponent; undefined if it is not finite. */
export function decimalText(value: number): string | undefined {
  if (!Number.isFinite(value)) return undefined;
  const [digits, exponent] = String(Math.abs(value)).split("e") as [string, string?];
  const size = shifted(digits, Number(exponent ?? 0));
  return value < 0 ? `-${size}` : size;
}

function valueOf(groups: Readonly<Record<string, string | undefined>>): string | undefined {
  const { date, clock, minutes, whole, part, parts, number, exponent, tens, power, divisor, scale, kilo } = groups;
  if (date !== undefined) return undefined;
  if (clock !== undefined) return /^00(?::00)?$/.test(minutes!) ? shifted(clock, 0) : undefined;
  if (whole !== undefined)
    return Number(parts) === 0 ? undefined : decimalText(Number(whole) + Number(part) / Number(parts));
  const plain = number!.replaceAll(",", "");
  if (divisor !== undefined) return decimalText(Number(plain) / Number(divisor.replaceAll(",", "")));
  if (power !== undefined) return decimalText(Number(plain) ** Number(power));
  const shift = Number(exponent ?? tens ?? (kilo ? 3 : (zeros[scale?.toLowerCase() ?? ""] ?? 0)));
  return Math.abs(shift) > largestExponent ? undefined : shifted(plain, shift);
}

/** digits * 10^shift, exactly. */
function shifted(digits: string, shift: number): string {
  const [integer, fraction = ""] = digits.split(".") as [string, string?];
  const all =
    "0".repeat(Math.max(0, 1 - integer.length - shift)) +
    integer +
    fraction +
    "0".repeat(Math.max(0, shift - fraction.length));
  const point = all.length - Math.max(0, fraction.length - shift);
  const left = all.slice(0, point).replace(/^0+(?=\d)/, "");
  let last = all.length;
  while (last > point && all[last - 1] === "0") last--;
  return last > point ? `${left}.${all.slice(point, last)}` : left;
}

/** x1, H2O, cm^2, a_3; but 3x5. */
function isPartOfWord(text: string, start: number): boolean {
  const before = text.slice(Math.max(0, start - 3), start);
  return /[A-Za-z_]$|\^-?$/.test(before) && !/\d\s?[xX]$/.test(before);
}

/**
 * Whether the hyphen or word before a number is a sign and no operator, range, dash or bullet: it is glued to the number and behind a
 * space, bracket, operator or nothing; or apart from it and behind "=", ":", "(" or nothing at all. "negative" always is one.
 */
function isNegative(text: string, start: number, from: number): boolean {
  const before = text.slice(Math.max(from, start - 24), start);
  const sign = /(?:-(?<gap>\s{0,2})|(?<word>(?<!\p{L})(?:negative|minus))\s{1,2})[$€£¥₹]?\s?$/iu.exec(before);
  if (!sign) return false;
  const left = before.slice(0, sign.index);
  if (sign.groups?.word?.toLowerCase() === "negative") return true;
  const isBullet = sign.groups?.gap && (/\n\s*$/.test(left) || (from === 0 && left.trim() === ""));
  if (isBullet) return false;
  if (left.trim() === "" && start - from <= 24) return true;
  if (sign.groups?.word) return /[=:([{]\s*$|(?:^|\s)(?:is|to|of)\s*$/i.test(left);
  if (sign.groups?.gap) return /[=:([{*/][$\s]*$/.test(left);
  return /[=:([{*/+,;<>~≈"'|]\s*$|\n\s*$/.test(left) || (/[\s$]$/.test(left) && !/[\d)\]}%°]\s*[$]?\s*$/.test(left));
}
