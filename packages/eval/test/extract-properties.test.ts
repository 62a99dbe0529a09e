import { expect, test } from "bun:test";
import {
  equalFixed,
  firstLetter,
  firstOf,
  lastNumber,
  statedNumber,
  statedOption,
  statedWord,
} from "../src/extract/index.ts";

type Random = () => number;

/** Marsaglia's xorshift32. */
function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
const below = (random: Random, n: number): number => Math.floor(random() * n);
const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)]!;

const letters = ["A", "B", "C", "D", "E"];
const answers = ["answer1", "answer2", "answer3"];
const truth = ["true", "false"];
const choices = ["12 m", "13 m", "a red fox", "none of these", "$1,500"];
const readers: Readonly<Record<string, (text: string) => string>> = {
  statedNumber,
  statedOption: (text) => statedOption(text, letters, choices),
  statedWord: (text) => statedWord(text, answers, ["a fox", "a cow", "12"]),
  "statedWord of true and false": (text) => statedWord(text, truth),
  lastNumber,
  firstLetter,
  firstOf: firstOf(answers),
};

/** A number as text in canonical form, and the ways to write it. */
interface Style {
  number(random: Random): string;
  write(value: string): string;
}
const decimal = (random: Random): string => {
  const integer = String(below(random, 10 ** (1 + below(random, 7))));
  const fraction = random() < 0.5 ? "" : `.${below(random, 1000)}${1 + below(random, 9)}`;
  return integer + fraction;
};
const grouped = (value: string, by: string): string => {
  const [integer = "", fraction] = value.split(".");
  return integer.replaceAll(/\B(?=(?:\d{3})+$)/g, by) + (fraction === undefined ? "" : `.${fraction}`);
};
const minus = (random: Random, value: string): string => (random() < 0.3 && Number(value) !== 0 ? `-${value}` : value);
const signed = (random: Random): string => minus(random, decimal(random));
const quarter = (random: Random): string =>
  minus(random, String(1 + below(random, 50) + pick(random, [0.25, 0.5, 0.75])));
const parts = (value: string): { sign: string; whole: string; over4: number } => {
  const size = Math.abs(Number(value));
  return { sign: value.startsWith("-") ? "-" : "", whole: String(Math.trunc(size)), over4: (size % 1) * 4 };
};
const styles: Readonly<Record<string, Style>> = {
  plain: { number: signed, write: (v) => v },
  commas: { number: signed, write: (v) => grouped(v, ",") },
  "LaTeX commas": { number: signed, write: (v) => grouped(v, "{,}") },
  "thin spaces": { number: signed, write: (v) => grouped(v, "\u2009") },
  "dollars and groups": { number: decimal, write: (v) => `$${grouped(v, " ")}` },
  dollars: { number: signed, write: (v) => v.replace(/^-?/, "$&$") },
  "dollars before the sign": { number: signed, write: (v) => `$${v}` },
  "pounds and commas": { number: signed, write: (v) => grouped(v, ",").replace(/^-?/, "$&£") },
  "Unicode minus": { number: signed, write: (v) => v.replace("-", "\u2212") },
  percent: { number: signed, write: (v) => `${v}%` },
  unit: { number: signed, write: (v) => `${v} square feet` },
  "glued unit": { number: signed, write: (v) => `${v}cm` },
  bold: { number: signed, write: (v) => `**${v}**` },
  inline: { number: signed, write: (v) => `\\(${v}\\)` },
  maths: { number: signed, write: (v) => `$${v}$` },
  boxed: { number: signed, write: (v) => `\\boxed{${v}}` },
  e: { number: signed, write: (v) => `${v}e0` },
  "e, shifted": {
    number: (random) => minus(random, `${1 + below(random, 99)}000`),
    write: (v) => `${v.slice(0, -3)}e3`,
  },
  "times ten": {
    number: (random) => minus(random, `${1 + below(random, 99)}000`),
    write: (v) => `${v.slice(0, -3)} × 10^{3}`,
  },
  superscript: {
    number: (random) => minus(random, `${1 + below(random, 99)}000`),
    write: (v) => `${v.slice(0, -3)} x 10³`,
  },
  thousand: {
    number: (random) => minus(random, `${1 + below(random, 99)}000`),
    write: (v) => `${v.slice(0, -3)} thousand`,
  },
  fraction: { number: quarter, write: (v) => `${Number(v) * 4}/4` },
  frac: { number: quarter, write: (v) => `${parts(v).sign}\\frac{${Math.abs(Number(v)) * 4}}{4}` },
  mixed: { number: quarter, write: (v) => `${parts(v).sign}${parts(v).whole} ${parts(v).over4}/4` },
  "mixed, one sign": {
    number: quarter,
    write: (v) => parts(v).sign + parts(v).whole + ["", "¼", "½", "¾"][parts(v).over4]!,
  },
  ordinal: { number: (random) => String(4 + below(random, 7)), write: (v) => `${v}th` },
};
const sentences: readonly ((number: string) => string)[] = [
  (x) => x,
  (x) => `The answer is ${x}.`,
  (x) => `the answer is ${x}`,
  (x) => `\nA: There were 9 at first, and 9 - 2 = 7 later. The answer is ${x}.`,
  (x) => `So 3 * 4 = 12. Therefore, the final answer is: ${x}!`,
  (x) => `Answer: ${x}\n\nThere were 24 eggs at first.`,
  (x) => `The answer is ${x}, and 2 are left.`,
  (x) => `#### ${x}`,
  (x) => `The answer is 99. Wait, the answer is ${x}.`,
  (x) => `12 - 3 = 9, hence x = ${x}`,
  (x) => `The answer is ${x}.\n\n### Instruction:\nThe answer is 77.`,
];

test("a number in any style and sentence is read exactly", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = seeded(seed);
    for (const [name, { number, write }] of Object.entries(styles)) {
      const value = number(random);
      for (const sentence of sentences) {
        const text = sentence(write(value));
        expect([seed, name, text, statedNumber(text)]).toEqual([seed, name, text, value]);
        expect(equalFixed(statedNumber(text), `${Number(value)}`)).toBe(true);
      }
    }
  }
});

const pieces = [
  ..."0123456789.,:;-+*/^=()[]{}\\$%#'\"`_&|~<>?! \n\t",
  ..."ABCDEabcdeéßλ漢٣½²⁻\u2212\u2013\u2014\u00A0\u2009\uD800😀",
  ...[
    "The answer is ",
    "answer: ",
    "not ",
    " or ",
    "\\boxed{",
    "\\frac{",
    "\\text{",
    "#### ",
    "answer1",
    "answer12",
    "true",
    "untrue",
  ],
  ...[
    "(A) ",
    "B) ",
    "Option C ",
    "twenty-",
    "hundred",
    "negative ",
    "e5",
    " x 10^",
    "1,234",
    "3/4",
    "### Instruction:",
    "\nQ:",
    "</s>",
    "12 m",
  ],
];

test("every text gives an answer or none, and an answer is read again as itself", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = seeded(seed);
    const text = Array.from({ length: below(random, 30) }, () => pick(random, pieces)).join("");
    const number = statedNumber(text);
    expect([seed, text, number]).toEqual([seed, text, expect.stringMatching(/^(?:-?(?:0|[1-9]\d*)(?:\.\d*[1-9])?)?$/)]);
    const option = readers.statedOption!(text);
    const word = readers.statedWord!(text);
    const isTrue = readers["statedWord of true and false"]!(text);
    expect(["", ...letters]).toContain(option);
    expect(["", ...answers]).toContain(word);
    expect(["", ...truth]).toContain(isTrue);
    expect([seed, statedNumber(number), readers.statedOption!(option)]).toEqual([seed, number, option]);
    expect([readers.statedWord!(word), readers["statedWord of true and false"]!(isTrue)]).toEqual([word, isTrue]);
  }
});

const clauses = [
  ...[
    "First, 3 + 4 = 7.",
    "The answer is 12.",
    "The answer is not 5.",
    "(A) is 5, (B) is 6.",
    "Option C is wrong.",
    "It is true.",
    "This is not true.",
  ],
  ...[
    "answer1: x answer2: y answer3: z",
    "So answer2.",
    "\\boxed{8}",
    "$5 and -6",
    "**Step 1**",
    "Yes, 5.",
    "1, 2, 3",
    "The answer is (A) or (B).",
    "\n\n",
    "#### 4",
  ],
  ...[
    "The answer is the sum of 3 and 4.",
    "The answer to this, I think (maybe), is unknown.",
    "x = \\frac{3}{4}",
    "{",
    "((",
    "- ",
    "The answer is ",
  ],
];

test("no text before the statement changes what it states", () => {
  const stated: readonly (readonly [string, string, string])[] = [
    ["statedNumber", "The answer is 18.", "18"],
    ["statedNumber", "The answer is -2.5 degrees.", "-2.5"],
    ["statedOption", "The answer is (D).", "D"],
    ["statedOption", "The answer is A.", "A"],
    ["statedOption", "The answer is a red fox.", "C"],
    ["statedWord", "The correct answer is answer3.", "answer3"],
    ["statedWord", "The correct answer is a cow.", "answer2"],
    ["statedWord of true and false", "The correct answer is false.", "false"],
  ];
  for (let seed = 1; seed <= 500; seed++) {
    const random = seeded(seed);
    const before = Array.from({ length: below(random, 8) }, () => pick(random, clauses)).join(" ");
    for (const [name, statement, want] of stated) {
      const text = `${before} ${statement}`;
      expect([seed, text, readers[name]!(text)]).toEqual([seed, text, want]);
    }
  }
});

// Quadratic work on these would outlast the test's time by far.
const repeated = [
  ...[
    "1,1,1,",
    "1,",
    "11,11,",
    "111,",
    "((((",
    "-",
    "- ",
    "1",
    "1 ",
    "1/",
    "1 1/",
    "1.",
    "1:",
    "1-1-",
    "1e",
    "1^",
    "1*10^",
    "1 = ",
    "1 + 1 = ",
  ],
  ...[
    "answer ",
    "answer is ",
    "answer: ",
    "answer to ",
    "the answer is 5 aaaa bbbb cccc ",
    "\\boxed{",
    "\\frac{",
    "\\text{",
    "{",
    "####",
    "\n ",
    "\t",
  ],
  ...[
    "(A) ",
    "A or ",
    "not (A) ",
    "answer1 ",
    "answer1: ",
    "answer1/",
    "is true or ",
    "twenty ",
    "negative ",
    "**",
    "$1 ",
    "٣",
    "½",
    "²",
    "</s",
    "\uD800",
  ],
];

test("long texts of one repeated piece are read in linear time", () => {
  for (const piece of repeated) {
    const text = piece.repeat(Math.ceil(100_000 / piece.length));
    for (const [name, read] of Object.entries(readers))
      expect([name, piece, typeof read(text)]).toEqual([name, piece, "string"]);
  }
});
