/** The published training files against the published test sets. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import {
  flagsOf,
  indexTraining,
  type QuestionText,
  readQuestionFile,
  readTrainFile,
  searchIndex,
} from "../src/contamination/index.ts";
import { shared } from "./shared.ts";

const folder = "datasets/llm-adapters";
const arithmetic = ["AQuA", "AddSub", "MultiArith", "SVAMP", "SingleEq", "gsm8k", "mawps", "mathqa"];
const commonsense = [
  "boolq",
  "piqa",
  "social_i_qa",
  "winogrande",
  "ARC-Easy",
  "ARC-Challenge",
  "openbookqa",
  "hellaswag",
];
const isThere = shared(`${folder}/train/math_data.json.gz`) !== undefined;
const testPath = (set: string): string =>
  shared(`${folder}/${set}/test.json`) ?? shared(`${folder}/${set}/test.json.gz`)!;

const questions = new Map<string, Promise<QuestionText[]>>();
/** Read once. */
function questionsOf(set: string): Promise<QuestionText[]> {
  const known = questions.get(set) ?? readQuestionFile(testPath(set));
  questions.set(set, known);
  return known;
}

/** [exact, near] of each set that has any. */
async function found(file: string): Promise<Record<string, readonly [number, number]>> {
  const index = await indexTraining([await readTrainFile(shared(`${folder}/${file}`)!)]);
  const counts: Record<string, readonly [number, number]> = {};
  for (const set of [...arithmetic, ...commonsense]) {
    const report = await searchIndex(index, { name: set, questions: await questionsOf(set) });
    if (report.matches.length > 0) counts[set] = [report.exact, report.near];
    expect(flagsOf(report).length).toBe(report.matches.length > 0 ? 1 : 0);
  }
  return counts;
}

type Row = Readonly<Record<string, string>>;
const rows = (path: string): Row[] => {
  const bytes = readFileSync(path);
  return JSON.parse((path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString()) as Row[];
};

describe.skipIf(!isThere)("published training files", () => {
  test("math_data.json has most of seven test sets, and nothing of the others", async () => {
    expect(await found("train/math_data.json.gz")).toEqual({
      AQuA: [203, 0],
      AddSub: [337, 13],
      MultiArith: [491, 1],
      SVAMP: [800, 0],
      SingleEq: [428, 17],
      gsm8k: [1055, 0],
      mawps: [134, 3],
    });
  });

  test("MAWPS's training set has AddSub, MultiArith and SingleEq", async () => {
    expect(await found("mawps/trainset.json.gz")).toEqual({
      AddSub: [328, 26],
      MultiArith: [490, 1],
      SingleEq: [437, 24],
      mawps: [29, 28],
    });
  });

  test("GSM8K's training set is clean", async () => {
    expect(await found("train/gsm8k_train.json.gz")).toEqual({});
  });

  test("the commonsense training sets repeat few questions of their own tests, BoolQ most", async () => {
    expect(await found("train/commonsense_mix_15k.json.gz")).toEqual({
      boolq: [1, 16],
      "ARC-Easy": [1, 0],
      openbookqa: [1, 0],
    });
    expect(await found("boolq/train.json.gz")).toEqual({ boolq: [12, 93] });
    expect(await found("ARC-Easy/train.json.gz")).toEqual({ "ARC-Easy": [4, 3] });
    expect(await found("ARC-Challenge/train.json.gz")).toEqual({});
    expect(await found("openbookqa/train.json.gz")).toEqual({ openbookqa: [14, 1] });
    expect(await found("piqa/train.json.gz")).toEqual({ piqa: [2, 0] });
    expect(await found("social_i_qa/train.json.gz")).toEqual({});
  });

  test.each([
    ["train/math_data.json.gz", "instruction", { SVAMP: 800, gsm8k: 1055 }],
    ["mawps/trainset.json.gz", "original_text", { AddSub: 327, MultiArith: 490, SingleEq: 415, mawps: 28 }],
  ])("%s: every question that is there letter for letter is found", async (file, field, counts) => {
    const plain = (text: string): string => text.replaceAll(/\s/g, "").toLowerCase();
    const texts = new Set(rows(shared(`${folder}/${file}`)!).map((row) => plain(row[field]!)));
    const index = await indexTraining([await readTrainFile(shared(`${folder}/${file}`)!)]);
    for (const [set, count] of Object.entries(counts)) {
      const { matches } = await searchIndex(index, { name: set, questions: await questionsOf(set) });
      const exact = new Set(matches.filter(({ kind }) => kind === "exact").map((match) => match.test));
      const literal = rows(testPath(set)).flatMap(({ instruction }, i) => (texts.has(plain(instruction!)) ? [i] : []));
      expect(literal.length).toBe(count);
      expect(literal.filter((row) => !exact.has(row))).toEqual([]);
    }
  });
});
