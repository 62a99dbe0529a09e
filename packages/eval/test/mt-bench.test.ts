/** MT-Bench: a fake model answers two turns, a local server judges. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { ConfigError, DataError } from "@graft/core/errors";
import { promptTemplates } from "@graft/core/data";
import type { GenerateRequest } from "@graft/core/generate";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createJudge, EndpointError, findDataset, runTask, type Task } from "../src/index.ts";
import { judgeMessages } from "../src/judge/judge-prompts.ts";
import { mtBench } from "../src/tasks/mt-bench.ts";
import { fakeModel } from "./fake-model.ts";
import { shared } from "./shared.ts";

const task = mtBench as unknown as Task;

interface JudgeBody {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}
let asked: JudgeBody[] = [];
/** The judge's reply, or the response as it is. */
let judge: (body: JudgeBody, count: number) => string | Response = () => "[[5]]";
const server = Bun.serve({
  port: 0,
  async fetch(request) {
    const body = (await request.json()) as JudgeBody;
    asked.push(body);
    const reply = judge(body, asked.length);
    return reply instanceof Response ? reply : Response.json({ choices: [{ message: { content: reply } }] });
  },
});
beforeEach(() => {
  asked = [];
});
afterAll(() => server.stop(true));
const askJudge = createJudge({
  url: `http://127.0.0.1:${server.port}`,
  model: "judge",
  delayMs: () => 0,
  concurrency: 1,
});

const poem = {
  question_id: 7,
  category: "writing",
  turns: ["Write a line about rain.", "Now without the word {rain}."],
};
const sum = { question_id: 8, category: "math", turns: ["What is 2 + 3?", "And twice that?"] };
const reference = ["It is $5.", "Twice 5 is 10."];
const prompts = [
  { name: "single-v1", system_prompt: "Be fair.", prompt_template: "Q {question}\nA {answer}\nEnd" },
  { name: "single-math-v1", system_prompt: "Be exact.", prompt_template: "Q {question}\nR {ref_answer_1}\nA {answer}" },
  {
    name: "single-v1-multi-turn",
    system_prompt: "Look at the second.",
    prompt_template: "1 {question_1} / {answer_1}\n2 {question_2} / {answer_2}",
  },
  {
    name: "single-math-v1-multi-turn",
    system_prompt: "Check the second.",
    prompt_template:
      "R {question_1} {ref_answer_1} {question_2} {ref_answer_2}\n1 {question_1} {answer_1}\n2 {question_2} {answer_2}",
  },
];

const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** A data folder in MT-Bench's own layout. */
function folderOf(questions: readonly object[], references: readonly object[] = []): string {
  const folder = mkdtempSync(join(tmpdir(), "mt-bench-"));
  mkdirSync(join(folder, "mt-bench"));
  const write = (name: string, rows: readonly object[]) => writeFileSync(join(folder, "mt-bench", name), lines(rows));
  write("question.jsonl", questions);
  write("judge_prompts.jsonl", prompts);
  write("reference_answer_gpt-4.jsonl", references);
  return folder;
}
const answerKey = { question_id: 8, model_id: "gpt-4", choices: [{ index: 0, turns: reference }] };
const both = folderOf([poem, sum], [answerKey]);

const replies = [
  [" Rain falls. ", "Water falls.\n"],
  ["5", "10 {answer}"],
] as const;
/** Answers by turn: the second turn's prompt has the first answer in it. */
const model = () => {
  const requests: GenerateRequest[] = [];
  const fake = fakeModel({
    generate(doc, request) {
      requests.push(request);
      return replies[doc]![String(request.prompt).split("### Response:").length - 2]!;
    },
  });
  return { fake, requests };
};

const run = (
  own: {
    readonly folder?: string;
    readonly numFewshot?: number;
    readonly outputDir?: string;
    readonly limit?: number;
  } = {},
) => {
  const { folder = both, ...more } = own;
  return runTask(task, model().fake, { dataDirs: [folder], services: { askJudge }, template: "alpaca", ...more });
};

test("the second turn is asked with the first one and its answer before it, as its category is sampled", async () => {
  const { fake, requests } = model();
  judge = () => "[[5]]";
  await runTask(task, fake, { dataDirs: [both], services: { askJudge }, template: "alpaca", seed: 3 });
  const intro =
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n";
  const first = `${intro}Write a line about rain.\n\n### Response:\n`;
  const second = `${first}Rain falls.\n\n${intro}Now without the word {rain}.\n\n### Response:\n`;
  expect(requests.filter((_, i) => i % 2 === 0)).toMatchObject([
    { prompt: first, temperature: 0.7, seed: 10, maxNewTokens: 1024, stop: promptTemplates.alpaca.stops },
    { prompt: second, temperature: 0.7, seed: 10, maxNewTokens: 1024, stop: promptTemplates.alpaca.stops },
  ]);
  expect(requests.filter((_, i) => i % 2 === 1)).toMatchObject([
    { temperature: 0, seed: 11 },
    { temperature: 0, seed: 11 },
  ]);
});

test("the judge is asked with its prompts, byte for byte, and its ratings are the values", async () => {
  const ratings = ["So so. [[4]]", "Rating: [[7.5]]", "Exact: [10]", "[[9]]"];
  judge = (_body, count) => ratings[count - 1]!;
  const result = await run();
  const message = (system: string, user: string) => [
    { role: "system", content: system },
    { role: "user", content: user },
  ];
  expect(asked).toEqual(
    [
      message("Be fair.", "Q Write a line about rain.\nA Rain falls.\nEnd"),
      message(
        "Look at the second.",
        "1 Write a line about rain. / Rain falls.\n2 Now without the word {rain}. / Water falls.",
      ),
      message("Be exact.", "Q What is 2 + 3?\nR It is $5.\nA 5"),
      message(
        "Check the second.",
        "R What is 2 + 3? It is $5. And twice that? Twice 5 is 10.\n1 What is 2 + 3? 5\n2 And twice that? 10 {answer}",
      ),
    ].map((messages) => ({ model: "judge", messages, temperature: 0, max_tokens: 2048 })),
  );
  expect(result.samples).toMatchObject([
    {
      target: "",
      filtered_resps: ["4", "7.5"],
      detail: "Turn 1. So so. [[4]]\n\nTurn 2. Rating: [[7.5]]",
      resps: [[" Rain falls. "], ["Water falls.\n"]],
      mt_bench: 5.75,
      mt_bench_turn1: 4,
      mt_bench_turn2: 7.5,
    },
    { target: "It is $5.\n\nTwice 5 is 10.", mt_bench: 9.5, mt_bench_turn1: 10, mt_bench_turn2: 9 },
  ]);
  const figures = Object.entries(result.figures).map(([name, { value }]) => [name, value]);
  expect(Object.fromEntries(figures)).toEqual({ mt_bench: 7.625, mt_bench_turn1: 7, mt_bench_turn2: 8.25 });
  expect(result.primary).toBe("mt_bench");
});

test("a busy judge changes nothing", async () => {
  judge = (_body, count) =>
    count === 1 ? new Response("wait", { status: 429, headers: { "retry-after": "0" } }) : "[[6]]";
  const { figures } = await run();
  expect(asked.length).toBe(5);
  expect(figures.mt_bench).toMatchObject({ value: 6, stderr: 0 });
});

test("a judge that forgets the rating is asked for it in the same conversation", async () => {
  judge = (_body, count) => (count === 1 ? "A fine line." : "[[8]]");
  const { samples } = await run();
  expect(asked[1 + asked.slice(1).findIndex(({ messages }) => messages.length > 2)]!.messages).toEqual([
    ...asked[0]!.messages,
    { role: "assistant", content: "A fine line." },
    {
      role: "user",
      content: 'Your reply has no rating. Give it now, on a scale of 1 to 10, strictly in this format: "[[rating]]".',
    },
  ]);
  expect(samples[0]).toMatchObject({ mt_bench_turn1: 8, detail: "Turn 1. A fine line.\n\n[[8]]\n\nTurn 2. [[8]]" });
});

test("a judge that never rates, or fails, ends the run; what was judged is kept and the next run goes on", async () => {
  judge = (body) => (body.messages[0]!.content === "Check the second." ? "No [[rating]] from me." : "[[3]]");
  const outputDir = mkdtempSync(join(tmpdir(), "mt-out-"));
  const failed = await run({ outputDir }).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(EndpointError);
  expect((failed as Error).message).toBe(
    'mt_bench: question 8, turn 2: the judge gave no rating from 0 to 10 in 3 replies; the last one: "No [[rating]] from me."',
  );
  expect(readFileSync(join(outputDir, "samples_mt_bench.jsonl"), "utf8").trim().split("\n").length).toBe(1);
  asked = [];
  judge = () => "[[9]]";
  const { figures } = await run({ outputDir });
  expect(asked.length).toBe(2);
  expect(figures.mt_bench!.value).toBe(6);
  judge = () => Response.json({ error: { message: "no such model" } }, { status: 404 });
  // Of one question: nothing that was asked beside it arrives in the next test.
  const refused = await run({ limit: 1 }).catch((error: unknown) => error);
  expect((refused as Error).message).toMatch(/^mt_bench: question \d, turn 1: POST .* answered 404: no such model$/);
});

test("what is missing is named before anything is asked", async () => {
  const noPrompts = folderOf([poem]);
  rmSync(join(noPrompts, "mt-bench", "judge_prompts.jsonl"));
  const cases: readonly (readonly [() => Promise<unknown>, new (message: string) => Error, string])[] = [
    [() => run({ folder: noPrompts }), DataError, "graft datasets pull mt_bench"],
    [() => run({ folder: folderOf([sum]) }), DataError, "the file is empty"],
    [() => run({ numFewshot: 1 }), ConfigError, "mt_bench has no solved problems to show"],
    [() => runTask(task, model().fake, { dataDirs: [both] }), ConfigError, "--judge-url"],
  ];
  for (const [start, kind, message] of cases) {
    const error = await start().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(kind);
    expect((error as Error).message).toContain(message);
  }
  expect(asked).toEqual([]);
});

test.skipIf(!shared("datasets/mt-bench"))(
  "the published questions: 80, 30 judged by references, every prompt filled",
  async () => {
    const docs = await mtBench.dataset.read(findDataset(mtBench.dataset, "test", [shared("datasets")!]));
    expect(docs.length).toBe(80);
    const byCategory = Map.groupBy(docs, ({ category }) => category);
    expect([...byCategory].map(([, { length }]) => length)).toEqual(Array.from({ length: 8 }, () => 10));
    const referenced = docs.filter(({ judge: { first } }) => first.name === "single-math-v1");
    expect(new Set(referenced.map(({ category }) => category))).toEqual(new Set(["reasoning", "math", "coding"]));
    expect(referenced.length).toBe(30);
    // The answers that the judge of the paper was given, not the short keys in the file of questions.
    const gpt4 = readFileSync(shared("datasets/mt-bench/reference_answer_gpt-4.jsonl")!, "utf8").trim().split("\n");
    const keys = gpt4.map((line) => JSON.parse(line) as { question_id: number; choices: [{ turns: string[] }] });
    for (const { question_id, choices } of keys)
      expect(docs.find((doc) => doc.question_id === question_id)!.reference).toEqual(choices[0].turns);
    const names = [
      "question",
      "answer",
      "question_1",
      "question_2",
      "answer_1",
      "answer_2",
      "ref_answer_1",
      "ref_answer_2",
    ];
    const filled = new Map(
      docs.flatMap(({ judge: { first, second } }) => [first, second]).map((one) => [one.name, one]),
    );
    expect(filled.size).toBe(4);
    for (const prompt of filled.values()) {
      const fields = names.filter((name) => prompt.prompt_template.includes(`{${name}}`));
      expect(fields.length).toBe(
        (prompt.name.includes("multi-turn") ? 4 : 2) * (prompt.name.includes("math") ? 1.5 : 1),
      );
      const [, user] = judgeMessages(prompt, Object.fromEntries(names.map((name) => [name, `<${name}>`])));
      for (const name of fields) expect(user!.content).toContain(`<${name}>`);
      expect(user!.content).not.toMatch(/[{}]/);
    }
  },
);
