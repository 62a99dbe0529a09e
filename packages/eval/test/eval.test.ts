import { expect, test } from "bun:test";
import type { GenerateRequest, LanguageModel } from "@graft/core/generate";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { firstOf, lastNumber, equalNumbers, runTask, taskFor, tasks } from "../src/index.ts";

/** A model that says what `say` says of each prompt. */
function fake(say: (prompt: string) => string): LanguageModel & { asked: number } {
  const model = {
    name: "fake",
    asked: 0,
    async generate(requests: readonly GenerateRequest[]) {
      model.asked += requests.length;
      return requests.map(({ prompt }) => ({
        promptIds: [],
        cutTokens: 0,
        sequences: [{ ids: [], text: say(String(prompt)), finishReason: "stop" as const }],
      }));
    },
    loglikelihood: () => Promise.reject(new Error("not asked")),
  };
  return model;
}

/** Rows of our own for every task: question N has a gold answer of the task's kind. */
const gold: Record<string, { answers: string[]; say: (answer: string) => string }> = {
  gsm8k: { answers: ["7", "1234.5", "-3"], say: (a) => `First 2 and 3. The answer is ${a}` },
  svamp: { answers: ["40.0", "8", "0.25"], say: (a) => `So it is ${a}.` },
  boolq: { answers: ["true", "false", "true"], say: (a) => `the correct answer is ${a}` },
  piqa: { answers: ["solution1", "solution2", "solution2"], say: (a) => `the correct answer is ${a}` },
  "micro-math": { answers: ["7", "11", "20"], say: (a) => `Tom has ${a} apples. The answer is ${a}.` },
  "micro-common": { answers: ["true", "answer2", "false"], say: (a) => `The correct answer is ${a}.` },
};

function writeRows(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), "eval-"));
  const path = join(folder, taskFor(name).file);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(
    path,
    JSON.stringify(
      gold[name]!.answers.map((answer, i) => ({ instruction: `question <${i}>`, input: "", output: "", answer })),
    ),
  );
  return folder;
}
const answerIn = (name: string, prompt: string) => gold[name]!.answers[Number(/<(\d+)>/.exec(prompt)![1])]!;

for (const name of Object.keys(tasks)) {
  test(`${name}: a perfect model scores 1, a silent one 0`, async () => {
    const options = { dataDirs: [writeRows(name)], batchSize: 2 };
    const perfect = await runTask(
      taskFor(name),
      fake((prompt) => gold[name]!.say(answerIn(name, prompt))),
      options,
    );
    expect(perfect).toMatchObject({ acc: 1, accStderr: 0, count: 3, total: 3 });
    expect(
      (
        await runTask(
          taskFor(name),
          fake(() => ""),
          options,
        )
      ).acc,
    ).toBe(0);
  });
}

test("a run that was cut off goes on where it was and ends the same", async () => {
  const dataDirs = [writeRows("gsm8k")];
  const outputDir = mkdtempSync(join(tmpdir(), "samples-"));
  const say = (prompt: string) => (prompt.includes("<1>") ? "no idea" : gold.gsm8k!.say(answerIn("gsm8k", prompt)));
  const straight = await runTask(taskFor("gsm8k"), fake(say), { dataDirs, batchSize: 1 });
  const first = fake(say);
  await runTask(taskFor("gsm8k"), first, { dataDirs, batchSize: 1, limit: 2, outputDir });
  // Killed in the middle of a line.
  appendFileSync(join(outputDir, "samples_gsm8k.jsonl"), '{"doc_id": 2, "do');
  const second = fake(say);
  const resumed = await runTask(taskFor("gsm8k"), second, { dataDirs, batchSize: 1, outputDir });
  expect(resumed).toEqual(straight);
  expect([first.asked, second.asked]).toEqual([2, 1]);
  const lines = readFileSync(join(outputDir, "samples_gsm8k.jsonl"), "utf8").trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { doc_id: number }).doc_id)).toEqual([0, 1, 2]);
  await expect(
    runTask(taskFor("gsm8k"), { ...fake(say), name: "another" }, { dataDirs, batchSize: 1, outputDir }),
  ).rejects.toThrow("another model");
});

test("numbers are read as the paper reads them", () => {
  const cases: [string, string][] = [
    ["The answer is 7.", "7."],
    ["72", "72"],
    ["It costs $1,234.50 in all", "1234.50"],
    ["3 + 4 = 7", "7"],
    ["-5 degrees", "-5"],
    ["from 10 to -2", "-2"],
    ["no number", ""],
    ["", ""],
    ["50%", "50"],
    ["1/2", "2"],
    ["12,000,000 people", "12000000"],
    ["a1b2c3", "3"],
    ["0.5", "0.5"],
    ["The answer is 18 eggs, 2 left", "2"],
    ["5.", "5."],
    ["1.2.3", "3"],
    ["7 apples and 3", "3"],
    ["-0", "-0"],
    ["3e5", "5"],
    ["10 - 4 = 6", "6"],
    ["10-4=6", "6"],
    ["so 4-2", "-2"],
    ["$5", "5"],
    ["£12.99!", "12.99"],
    ["=42=", "42"],
    ["year 2023, 15", "15"],
    ["#### 9", "9"],
    ["nine", ""],
    ["x = 3,\ny = 4", "4"],
    ["(8)", "8"],
    ["[16]", "16"],
    ["8 hours 30 minutes", "30"],
    ["1st", "1"],
    ["2 x 3 = 6.0", "6.0"],
    ["answer: 100,", "100"],
    ["0", "0"],
    ["007", "007"],
    ["4 4 4", "4"],
    ["about 3.14159", "3.14159"],
    ["-", ""],
    [".", ""],
  ];
  for (const [text, want] of cases) expect([text, lastNumber(text)]).toEqual([text, want]);
  expect(cases.length).toBeGreaterThanOrEqual(40);
  expect(equalNumbers("7.", "7")).toBe(true);
  expect(equalNumbers("7.0009", "7")).toBe(true);
  expect(equalNumbers("7.002", "7")).toBe(false);
  expect(equalNumbers("", "0")).toBe(false);
});

test("choices are the first word that is one", () => {
  const bool = firstOf(["true", "false"]);
  const two = firstOf(["solution1", "solution2"]);
  for (const [text, want] of [
    ["the correct answer is true", "true"],
    ["false, not true", "false"],
    ["untrue", "true"],
    ["yes", ""],
    [" true", "true"],
    ["TRUE", ""],
    ["", ""],
    ["it is false.", "false"],
  ] as const)
    expect(bool(text)).toBe(want);
  for (const [text, want] of [
    ["the correct answer is solution2", "solution2"],
    ["solution1 or solution2", "solution1"],
    ["solution 1", ""],
    ["solution12", "solution1"],
  ] as const)
    expect(two(text)).toBe(want);
});

test("a task that is not there names near ones; a missing file says where it was looked for", async () => {
  expect(() => taskFor("gsm8")).toThrow('unknown task "gsm8"; did you mean gsm8k?');
  await expect(
    runTask(
      taskFor("gsm8k"),
      fake(() => ""),
      { dataDirs: ["/nowhere"], batchSize: 1 },
    ),
  ).rejects.toThrow("gsm8k/test.json is in none of /nowhere");
});
