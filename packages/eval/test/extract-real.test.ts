/** Extraction of the worked responses that LLM-Adapters' test files bring along: how often they are right, and how often paper and fixed differ. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  equalFixed,
  equalNumbers,
  firstLetter,
  firstOf,
  lastNumber,
  statedNumber,
  statedOption,
  statedWord,
} from "../src/extract/index.ts";
import { shared } from "./shared.ts";

interface Row {
  readonly instruction: string;
  readonly output: string;
  readonly answer: string;
}

const folder = shared("datasets/llm-adapters");

function rowsOf(name: string): Row[] {
  const bytes = readFileSync(`${folder}/${name}`);
  return JSON.parse(new TextDecoder().decode(name.endsWith(".gz") ? Bun.gunzipSync(bytes) : bytes)) as Row[];
}

interface Counts {
  rows: number;
  /** Right by the paper's extraction and comparison, and by the fixed ones. */
  paper: number;
  fixed: number;
  /** Rows where the two read different answers. */
  differ: number;
}

function count(rows: readonly Row[], read: (row: Row) => { paper: boolean; fixed: boolean; differ: boolean }): Counts {
  const counts = { rows: rows.length, paper: 0, fixed: 0, differ: 0 };
  for (const row of rows) {
    const { paper, fixed, differ } = read(row);
    counts.paper += Number(paper);
    counts.fixed += Number(fixed);
    counts.differ += Number(differ);
  }
  return counts;
}

const numbers = {
  AddSub: { rows: 395, paper: 370, fixed: 370, differ: 0 },
  MultiArith: { rows: 600, paper: 560, fixed: 560, differ: 0 },
  // Two amounts ("3 birds and 10 storks"), of which neither is right but once, and "-$293".
  SVAMP: { rows: 1000, paper: 803, fixed: 804, differ: 12 },
  SingleEq: { rows: 508, paper: 484, fixed: 484, differ: 0 },
  // Two amounts, fractions, negative dollars, "$118 000", "3:00 pm", "2 or 3", "unknown".
  gsm8k: { rows: 1319, paper: 771, fixed: 773, differ: 17 },
  // No worked responses.
  mawps: { rows: 238, paper: 0, fixed: 0, differ: 0 },
};

test.skipIf(!folder)("numbers of the worked responses", () => {
  for (const [name, want] of Object.entries(numbers)) {
    const counts = count(rowsOf(`${name}/test.json`), ({ output, answer }) => {
      const [paper, fixed] = [lastNumber(output), statedNumber(output)];
      const differ = paper === "" || fixed === "" ? paper !== fixed : Number(paper) !== Number(fixed);
      return { paper: equalNumbers(paper, answer), fixed: equalFixed(fixed, answer), differ };
    });
    expect([name, counts]).toEqual([name, want]);
  }
});

const letters = ["A", "B", "C", "D", "E"];

/** "(A) 1 (B) 2" and "A ) 1 , B ) 2". */
function choicesOf(instruction: string, marker: (letter: string) => string): string[] {
  const list = instruction.slice(
    Math.max(instruction.lastIndexOf("Answer Choices:"), instruction.lastIndexOf("The options:")),
  );
  const at = letters.map((letter) => list.indexOf(marker(letter)));
  return at.map((from, i) =>
    list
      .slice(from + 3, at[i + 1])
      .trim()
      .replace(/ ,$/, ""),
  );
}
const options = [
  { file: "AQuA/test.json", rows: 254, marker: (letter: string) => `(${letter})`, ambiguous: 4 },
  { file: "mathqa/test.json", rows: 2985, marker: (letter: string) => `${letter} )`, ambiguous: 11 },
];

test.skipIf(!folder)("options of the worked responses", () => {
  const counts = count(rowsOf("AQuA/test.json"), ({ instruction, output, answer }) => {
    const [paper, fixed] = [
      firstLetter(output),
      statedOption(
        output,
        letters,
        choicesOf(instruction, (letter) => `(${letter})`),
      ),
    ];
    // All of them end "answer is (X).", but two that were cut off.
    expect(fixed).toBe(/^[^]*answer is \(([A-E])\)/.exec(output)?.[1] ?? "");
    return { paper: paper === answer, fixed: fixed === answer, differ: paper !== fixed };
  });
  expect(counts).toEqual({ rows: 254, paper: 109, fixed: 123, differ: 49 });
  expect(rowsOf("mathqa/test.json").every(({ output }) => output === "")).toBe(true);
});

test.skipIf(!folder)(
  "a listed option is read by its letter and by its text, and a repeated question states none",
  () => {
    for (const { file, rows, marker, ambiguous } of options) {
      const all = rowsOf(file);
      expect(all.length).toBe(rows);
      let none = 0;
      for (const { instruction, answer } of all) {
        const choices = choicesOf(instruction, marker);
        const text = choices[letters.indexOf(answer)]!;
        const read = (response: string): string => statedOption(response, letters, choices);
        expect(read(instruction)).toBe("");
        for (const response of [
          `answer : ${answer.toLowerCase()} ) ${text}`,
          `the answer is ${answer.toLowerCase()} .`,
          `Answer: (${answer}) ${text}`,
          `${answer}) ${text}`,
        ])
          expect([response, read(response)]).toEqual([response, answer]);
        const byText = read(`Let us see. The answer is ${text}.`);
        if (byText === "") none++;
        else expect([text, byText]).toEqual([text, answer]);
      }
      // Rows that list the right text twice.
      expect([file, none]).toEqual([file, ambiguous]);
    }
  },
);

const numbered = (stem: string, n: number): string[] => Array.from({ length: n }, (_, i) => `${stem}${i + 1}`);
/** unread: responses with a choice that stands twice, is the number of another one, differs from one in case alone, or holds a statement of its own. */
const words = [
  { file: "boolq/test.json", labels: ["true", "false"], rows: 3270, unread: 0 },
  { file: "piqa/test.json", labels: numbered("solution", 2), rows: 1838, unread: 0 },
  { file: "social_i_qa/test.json", labels: numbered("answer", 3), rows: 1954, unread: 2 },
  { file: "hellaswag/test.json.gz", labels: numbered("ending", 4), rows: 10042, unread: 3 },
  { file: "winogrande/test.json", labels: numbered("option", 2), rows: 1267, unread: 0 },
  { file: "ARC-Easy/test.json", labels: numbered("answer", 5), rows: 2376, unread: 1 },
  { file: "ARC-Challenge/test.json", labels: numbered("answer", 5), rows: 1172, unread: 5 },
  { file: "openbookqa/test.json", labels: numbered("answer", 4), rows: 500, unread: 0 },
];

test.skipIf(!folder)("words of the worked responses, of a listed text, and of a repeated question", () => {
  for (const { file, labels, rows, unread } of words) {
    const first = firstOf(labels);
    let none = 0;
    const counts = count(rowsOf(file), ({ instruction, output, answer }) => {
      expect(statedWord(instruction, labels)).toBe("");
      for (const [response, choices] of listed(instruction, labels, answer)) {
        const read = statedWord(response, labels, choices);
        if (read === "") none++;
        else expect([response, read]).toEqual([response, answer]);
      }
      const [paper, fixed] = [first(output), statedWord(output, labels)];
      return { paper: paper === answer, fixed: fixed === answer, differ: paper !== fixed };
    });
    expect([file, counts, none]).toEqual([file, { rows, paper: rows, fixed: rows, differ: 0 }, unread]);
  }
});

/** Responses that give a choice's text, alone and with its label. */
function listed(instruction: string, labels: readonly string[], answer: string): [string, string[]][] {
  const body = instruction.slice(0, instruction.indexOf("Answer format"));
  const at = labels
    .map((label) => body.lastIndexOf(`${label[0]!.toUpperCase()}${label.slice(1)}:`))
    .filter((from) => from >= 0);
  if (at.length < 2) return [];
  const choices = at.map((from, i) => body.slice(from + labels[i]!.length + 1, at[i + 1]).trim());
  const text = choices[labels.indexOf(answer)]!;
  return [text, `The correct answer is ${text}.`, `The correct answer is ${answer}: ${text}`].map((response) => [
    response,
    choices,
  ]);
}
