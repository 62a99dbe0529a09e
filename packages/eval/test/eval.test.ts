/** Every task in every scoring, on rows of our own: what a perfect, a wrong, a constant and a random model get. */
import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { appendFileSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { primaryFigure, runTask, type ScoringName, type Task, taskFor } from "../src/index.ts";
import { fakeModel, type Says } from "./fake-model.ts";
import { folderWith, ownRows } from "./own-rows.ts";

const generated = ["paper", "fixed"] as const;

/** How a model states an answer so that it can be read. */
function stated(task: Task, answer: string): string {
  if (task.name === "micro-common") return ` The correct answer is ${answer}.`;
  if (task.groups.includes("commonsense")) return `the correct answer is ${answer}`;
  return /^[A-E]$/.test(answer) ? `so it must be (${answer})` : `We count. The answer is ${answer}`;
}

/** A model that means these answers, whichever way it is asked. `gold` says whether the place-th continuation of a doc is the answer. */
const answering = (task: Task, answers: readonly string[], isMeant: (doc: number, place: number) => boolean): Says => ({
  generate: (doc) => stated(task, answers[doc]!),
  logprob: (doc, _continuation, place) => (isMeant(doc, place) ? -0.5 : -20 - place),
});

const rowsOf = (name: string) => ownRows[name]!.rows;
const goldPlace = (task: Task, docs: readonly { answer: string; labels?: readonly string[] }[]) => (doc: number) =>
  docs[doc]!.labels?.indexOf(docs[doc]!.answer) ?? 0;

async function docsOf(task: Task, folder: string) {
  const path = join(folder, ownRows[task.name]!.file);
  return (await task.dataset.read(path)) as { answer: string; labels?: readonly string[] }[];
}

for (const name of Object.keys(ownRows)) {
  const task = taskFor(name);
  for (const scoring of ["paper", "fixed", "loglikelihood"] as const) {
    test(`${name}, ${scoring}: a perfect model scores 1, a wrong one 0, a constant one the share of its answer`, async () => {
      const folder = folderWith(name);
      const docs = await docsOf(task, folder);
      const answers = rowsOf(name).map((row) => row.answer);
      const gold = goldPlace(task, docs);
      const score = async (says: Says) =>
        primaryFigure(await runTask(task, fakeModel(says), { dataDirs: [folder], scoring })).value;
      expect(await score(answering(task, answers, (doc, place) => place === gold(doc)))).toBe(1);
      const others = answers.map((answer, doc) => docs[doc]!.labels?.find((label) => label !== answer) ?? "123456");
      expect(
        await score(answering(task, others, (doc, place) => docs[doc]!.labels !== undefined && place !== gold(doc))),
      ).toBe(0);
      expect(await score({ generate: () => "", logprob: (_doc, _text, place) => -5 - place })).toBe(
        scoring === "loglikelihood" && docs[0]!.labels ? share(docs.map((_, doc) => gold(doc) === 0)) : 0,
      );
      // Always the first doc's answer.
      const constant = answers.map(() => answers[0]!);
      expect(
        await score(
          answering(task, constant, (doc, place) =>
            docs[doc]!.labels ? place === gold(0) : answers[doc] === answers[0],
          ),
        ),
      ).toBe(share(answers.map((answer) => answer === answers[0])));
    });
  }
}

const share = (hits: readonly boolean[]): number => hits.filter(Boolean).length / hits.length;

test("the same results in whatever order they come", async () => {
  const folder = folderWith("gsm8k");
  const says = answering(taskFor("gsm8k"), ["7", "x", "-3", "y", "7"], () => true);
  const shuffled = (n: number) => new Random(4).shuffle([...Array(n).keys()]);
  for (const scoring of [...generated, "loglikelihood"] as const) {
    const straight = await runTask(taskFor("gsm8k"), fakeModel(says), { dataDirs: [folder], scoring });
    const mixed = await runTask(taskFor("gsm8k"), fakeModel(says, "fake", shuffled), { dataDirs: [folder], scoring });
    expect({ ...mixed, seconds: 0 }).toEqual({ ...straight, seconds: 0 });
  }
});

test("a run that was cut off goes on where it was and ends the same", async () => {
  const task = taskFor("gsm8k");
  const dataDirs = [folderWith("gsm8k")];
  const outputDir = mkdtempSync(join(tmpdir(), "samples-"));
  const says = answering(task, ["7", "no idea", "-3", "999", "1"], () => true);
  const straight = await runTask(task, fakeModel(says), { dataDirs });
  const stopper = new AbortController();
  const cutOff = fakeModel(says);
  // Ctrl-C after two answers.
  const running = runTask(task, cutOff, {
    dataDirs,
    outputDir,
    signal: stopper.signal,
    onProgress: (done) => done === 2 && stopper.abort(),
  });
  await expect(running).rejects.toThrow("aborted");
  const path = join(outputDir, "samples_gsm8k.jsonl");
  const kept = linesOf(path).length;
  expect(kept).toBeGreaterThanOrEqual(2);
  expect(kept).toBeLessThan(5);
  // Killed in the middle of a line.
  appendFileSync(path, '{"doc_id": 4, "do');
  const second = fakeModel(says);
  const resumed = await runTask(task, second, { dataDirs, outputDir });
  expect({ ...resumed, seconds: 0 }).toEqual({ ...straight, seconds: 0 });
  expect(second.asked.length).toBe(5 - kept);
  expect(linesOf(path).map((line) => (JSON.parse(line) as { doc_id: number }).doc_id)).toEqual([0, 1, 2, 3, 4]);
  await expect(runTask(task, fakeModel(says, "another"), { dataDirs, outputDir })).rejects.toThrow("another model");
  await expect(runTask(task, fakeModel(says), { dataDirs, outputDir, seed: 1 })).rejects.toThrow("another --output");
});

const linesOf = (path: string): string[] => readFileSync(path, "utf8").split("\n").filter(Boolean);

test("a sample is lm-evaluation-harness's", async () => {
  const dataDirs = [folderWith("arc_easy")];
  const ranked = await runTask(taskFor("arc_easy"), fakeModel({ logprob: (_d, _t, place) => -1.5 - place }), {
    dataDirs,
    scoring: "loglikelihood",
  });
  const { doc, ...sample } = ranked.samples[1]!;
  expect(doc).toMatchObject({ question: "Where do fish live?", answer: "answer2" });
  expect(sample).toMatchObject({
    doc_id: 1,
    target: "1",
    arguments: {
      gen_args_0: { arg_0: "Question: Where do fish live?\nAnswer:", arg_1: " in sand" },
      gen_args_3: { arg_0: "Question: Where do fish live?\nAnswer:", arg_1: " in clouds" },
    },
    resps: [[["-1.5", "False"]], [["-2.5", "False"]], [["-3.5", "False"]], [["-4.5", "False"]]],
    filtered_resps: [
      ["-1.5", "False"],
      ["-2.5", "False"],
      ["-3.5", "False"],
      ["-4.5", "False"],
    ],
    filter: "none",
    metrics: ["acc", "acc_norm"],
    target_hash: "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
    acc: 0,
    // -2.5 / 8 and -3.5 / 8 lose to -1.5 / 7 too.
    acc_norm: 0,
  });
  const said = await runTask(taskFor("gsm8k"), fakeModel({ generate: () => "It is 7" }), {
    dataDirs: [folderWith("gsm8k")],
  });
  expect(said.samples[0]).toMatchObject({
    target: "7.0",
    resps: [["It is 7"]],
    filtered_resps: ["7"],
    filter: "fixed",
    metrics: ["acc"],
    arguments: { gen_args_0: { arg_1: { max_gen_toks: 256, do_sample: false, num_beams: 1 } } },
  });
});

test("the paper's prompt and decoding are its scripts'", async () => {
  const dataDirs = [folderWith("gsm8k")];
  const paper = await runTask(taskFor("gsm8k"), fakeModel({ generate: () => "7" }), {
    dataDirs,
    scoring: "paper",
    limit: 1,
  });
  const asked = paper.samples[0]!.arguments.gen_args_0!;
  const indent = " ".repeat(16);
  expect(asked.arg_0).toBe(
    `Below is an instruction that describes a task. Write a response that appropriately completes the request. \n\n${indent}### Instruction:\n${indent}Ida has 3 pears and buys 4 more. How many pears has Ida now?\n\n${indent}### Response:\n${indent}`,
  );
  // No stop text: beams that ended early would not be the paper's.
  expect(asked.arg_1).toMatchObject({ num_beams: 4, max_gen_toks: 256, until: [] });
  expect(paper).toMatchObject({ count: 1, total: 5, template: "paper-eval" });
});

test("shots are drawn by seed, from the training set where there is one, and never the doc itself", async () => {
  const dataDirs = [folderWith("arc_easy")];
  const ask = async (options: { numFewshot: number; seed?: number; scoring: ScoringName }) => {
    const model = fakeModel({ generate: () => "answer1", logprob: () => -2 });
    const result = await runTask(taskFor("arc_easy"), model, { dataDirs, ...options });
    return { result, first: model.asked[0]!.text };
  };
  const { result, first } = await ask({ numFewshot: 2, scoring: "loglikelihood" });
  expect(result).toMatchObject({ numFewshot: 2, shotSplit: "test" });
  expect(first.match(/Question: /g)).toHaveLength(3);
  expect(first.match(/What do bees make/g)).toHaveLength(1);
  expect(first).toEndWith("Question: What do bees make?\nAnswer: honey");
  expect(first).toContain("Answer: in water\n\n");
  expect((await ask({ numFewshot: 2, scoring: "loglikelihood" })).first).toBe(first);
  expect((await ask({ numFewshot: 1, scoring: "fixed" })).first).toMatch(/the correct answer is answer2\n\nBelow/);
  await expect(ask({ numFewshot: 3, scoring: "fixed" })).rejects.toThrow("3 shots are asked for and there are only 2");
  await expect(ask({ numFewshot: 1, scoring: "paper" })).rejects.toThrow("knows no shots");
});

test("the prompt template can be chosen, in a ranking too", async () => {
  const dataDirs = [folderWith("boolq")];
  const model = fakeModel({ logprob: (_doc, text) => (text.endsWith("true") ? -0.5 : -3) });
  const result = await runTask(taskFor("boolq"), model, { dataDirs, scoring: "loglikelihood", template: "alpaca" });
  expect(model.asked[0]!.text).toEndWith("### Response:\nthe correct answer is true");
  expect(primaryFigure(result).value).toBeCloseTo(2 / 3, 12);
  await expect(runTask(taskFor("boolq"), model, { dataDirs, template: "alpacca" })).rejects.toThrow(
    "did you mean alpaca",
  );
});

test("figures carry their errors, a judgement that fails ends the run, and names are found as people write them", async () => {
  const dataDirs = [folderWith("gsm8k")];
  const result = await runTask(
    taskFor("GSM8K"),
    fakeModel(answering(taskFor("gsm8k"), ["7", "0", "-3", "999", "1"], () => true)),
    { dataDirs },
  );
  const { value, stderr, interval } = primaryFigure(result);
  expect(value).toBe(0.6);
  expect(stderr).toBeCloseTo(Math.sqrt((0.6 * 0.4) / 4), 12);
  expect(interval).toEqual([0.2, 1]);
  const broken: Task = {
    ...taskFor("gsm8k"),
    scorings: {
      fixed: { ...taskFor("gsm8k").scorings.fixed!, judge: () => Promise.reject(new Error("the judge is gone")) },
    },
  };
  await expect(runTask(broken, fakeModel({ generate: () => "7" }), { dataDirs })).rejects.toThrow("the judge is gone");
  for (const [said, name] of [
    ["ARC-Challenge", "arc_challenge"],
    ["SIQA", "social_i_qa"],
    ["micro_math", "micro-math"],
    ["OBQA", "openbookqa"],
  ])
    expect(taskFor(said!).name).toBe(name!);
  expect(() => taskFor("gsm8")).toThrow('unknown task "gsm8"; did you mean gsm8k?');
  await expect(runTask(taskFor("gsm8k"), fakeModel({}), { dataDirs: ["/nowhere"] })).rejects.toThrow("/nowhere");
  await expect(runTask(taskFor("HumanEval"), fakeModel({}), { dataDirs })).rejects.toThrow("--allow-code-execution");
});
