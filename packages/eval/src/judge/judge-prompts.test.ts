import { expect, test } from "bun:test";
import { DataError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { judgeMessages, readJudgePrompts } from "./judge-prompts.ts";

const names = ["single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn"];
const prompt = (name: string) => ({ name, system_prompt: `You are ${name}.`, prompt_template: "{question}" });
const path = join(mkdtempSync(join(tmpdir(), "judge-")), "judge_prompts.jsonl");

async function readFrom(text: string) {
  writeFileSync(path, text);
  return readJudgePrompts(path);
}
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

test("the four prompts of single-answer grading are found among others", async () => {
  const { plain, referenced } = await readFrom(lines([prompt("pair-v2"), ...names.map(prompt)]));
  expect([plain.first, referenced.first, plain.second, referenced.second].map(({ name }) => name)).toEqual(names);
  expect(referenced.second.system_prompt).toBe("You are single-math-v1-multi-turn.");
});

test("a file that is not there or is damaged is named, with what to do", async () => {
  const gone = join(tmpdir(), "no-such-folder", "judge_prompts.jsonl");
  await expect(readJudgePrompts(gone)).rejects.toThrow(
    `${gone}: no such file; it holds the prompts of the judge, \`graft datasets pull mt_bench\` fetches it`,
  );
  await expect(readFrom(lines(names.slice(1).map(prompt)))).rejects.toThrow(
    `${path}: has no prompt "single-v1"; it has single-math-v1, single-v1-multi-turn, single-math-v1-multi-turn`,
  );
  await expect(readFrom(lines([{ ...prompt("single-v1"), system_prompt: 3 }]))).rejects.toThrow(
    `${path}: line 1: field "system_prompt": Invalid input: expected string, received number`,
  );
});

test("a file cut or changed anywhere is read or refused with its name", async () => {
  const whole = lines(names.map(prompt));
  for (let seed = 0; seed < 150; seed++) {
    const random = new Random(seed);
    const at = random.int(whole.length);
    const changed =
      seed % 2 ? whole.slice(0, at) : whole.slice(0, at) + '{}[]",:x1'[random.int(9)]! + whole.slice(at + 1);
    try {
      await readFrom(changed);
    } catch (error) {
      expect(error, `seed ${seed}`).toBeInstanceOf(DataError);
      expect((error as Error).message, `seed ${seed}`).toStartWith(path);
    }
  }
});

const fill = (prompt_template: string, values: Readonly<Record<string, string | undefined>>) =>
  judgeMessages({ name: "own", system_prompt: "Judge {question}.", prompt_template }, values);

test("a prompt is filled as by str.format, and what is put in stays as it is", () => {
  expect(fill("Q: {question}\nA: {answer} {{x}} {question}", { question: "{answer} $& {{", answer: "$1}" })).toEqual([
    { role: "system", content: "Judge {question}." },
    { role: "user", content: "Q: {answer} $& {{\nA: $1} {x} {answer} $& {{" },
  ]);
  expect(() => fill("{ref_answer_1}", { question: "a" })).toThrow(
    new DataError('judge prompt "own" asks for {ref_answer_1}, which this question does not have'),
  );
  expect(() => fill("{toString}", {})).toThrow(DataError);
});
