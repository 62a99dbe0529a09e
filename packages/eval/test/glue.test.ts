/** GLUE's tasks in every scoring, on rows of our own and on SST-2's development set. */
import { describe, expect, test } from "bun:test";
import { DataError } from "@graft/core/errors";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findDataset, runTask, type ScoringName, type Task, type TaskResult } from "../src/index.ts";
import type { GlueDoc } from "../src/datasets/glue.ts";
import * as glue from "../src/tasks/glue.ts";
import { sst2 } from "../src/tasks/sst2.ts";
import { fakeModel } from "./fake-model.ts";
import { shared } from "./shared.ts";

/** The task on these docs. */
function on(task: Task<GlueDoc>, docs: readonly GlueDoc[]): Task {
  const path = join(mkdtempSync(join(tmpdir(), "glue-")), "rows.json");
  writeFileSync(path, JSON.stringify(docs));
  return {
    ...task,
    dataset: { ...task.dataset, files: { test: [path] }, read: async () => [...docs] },
  } as unknown as Task;
}

const valuesOf = ({ figures }: TaskResult) =>
  Object.fromEntries(Object.entries(figures).map(([name, { value }]) => [name, value]));

/** What the words of each task mean in its files, by class. */
const classed = {
  sst2: { task: sst2, labels: ["0", "1"], words: ["negative", "positive"] },
  cola: { task: glue.cola, labels: ["0", "1"], words: ["false", "true"] },
  mrpc: { task: glue.mrpc, labels: ["0", "1"], words: ["false", "true"] },
  qqp: { task: glue.qqp, labels: ["0", "1"], words: ["false", "true"] },
  mnli: {
    task: glue.mnli,
    labels: ["entailment", "neutral", "contradiction"],
    words: ["entailment", "neutral", "contradiction"],
  },
  mnli_mismatch: {
    task: glue.mnliMismatched,
    labels: ["entailment", "neutral", "contradiction"],
    words: ["entailment", "neutral", "contradiction"],
  },
  qnli: { task: glue.qnli, labels: ["entailment", "not_entailment"], words: ["true", "false"] },
  rte: { task: glue.rte, labels: ["entailment", "not_entailment"], words: ["true", "false"] },
  wnli: { task: glue.wnli, labels: ["0", "1"], words: ["false", "true"] },
};

/** A model that means the class with that number for each doc; undefined: it says nothing of the kind. */
async function scored(
  task: Task,
  scoring: ScoringName,
  words: readonly string[],
  meant: (doc: number) => number | undefined,
) {
  const model = fakeModel({
    generate: (doc) => ` The correct answer is ${words[meant(doc) ?? -1] ?? "hard to tell"}.\n`,
    logprob: (doc, _text, place) => (place === meant(doc) ? -0.5 : -20 - place),
  });
  return valuesOf(await runTask(task, model, { dataDirs: [], scoring }));
}

for (const [name, { task, labels, words }] of Object.entries(classed)) {
  // Class 1 twice as often as each other one.
  const golds = [0, 1, 1, 2, 0, 1, 1, 2].filter((gold) => gold < labels.length);
  const docs = golds.map((gold, i) => ({
    sentence1: `Sentence ${i} of ${name}.`,
    sentence2: `Another one, ${i}.`,
    label: labels[gold]!,
  }));
  const own = on(task, docs);
  for (const scoring of ["fixed", "loglikelihood"] as const) {
    test(`${name}, ${scoring}: a perfect model scores 1, a wrong one 0, a constant one the share of its class`, async () => {
      expect(own.name).toBe(name);
      const { metrics } = own.scorings[scoring]!;
      const run = (meant: (doc: number) => number | undefined) => scored(own, scoring, words, meant);
      const perfect = await run((doc) => golds[doc]!);
      expect(perfect).toEqual(Object.fromEntries(metrics.map((metric) => [metric, 1])));
      const wrong = await run((doc) => (golds[doc]! + 1) % labels.length);
      expect(wrong.acc).toBe(0);
      if (wrong.mcc !== undefined) expect(wrong.mcc).toBeCloseTo(-1, 12);
      if (wrong.f1 !== undefined) expect(wrong.f1).toBe(0);
      const constant = await run(() => 1);
      const share = golds.filter((gold) => gold === 1).length / golds.length;
      expect(constant.acc).toBeCloseTo(share, 12);
      if (constant.mcc !== undefined) expect(constant.mcc).toBe(0);
      if (constant.f1 !== undefined) expect(constant.f1).toBeCloseTo((2 * share) / (1 + share), 12);
    });
  }
  test(`${name}: a response without an answer is of no class`, async () => {
    const values = await scored(own, "fixed", words, () => undefined);
    expect(values).toEqual(Object.fromEntries(own.scorings.fixed!.metrics.map((metric) => [metric, 0])));
  });
}

describe("prompts", () => {
  const doc = { sentence1: "It rains ", sentence2: " the street is wet", label: "1" };
  const asked = async (task: Task<GlueDoc>, scoring: ScoringName, template?: string) => {
    const fake = fakeModel({ generate: () => "", logprob: () => -1 });
    const one = on(task, [{ ...doc, label: ["mnli", "rte", "qnli"].includes(task.name) ? "entailment" : "1" }]);
    await runTask(one, fake, { dataDirs: [], scoring, template });
    return fake.asked.map(({ text }) => text);
  };
  test.each([
    [sst2, "It rains \nQuestion: Is this sentence positive or negative?\nAnswer:", ["negative", "positive"]],
    [glue.cola, "It rains \nQuestion: Does this sentence make sense?\nAnswer:", ["no", "yes"]],
    [
      glue.mrpc,
      "Sentence 1: It rains \nSentence 2:  the street is wet\nQuestion: Do both sentences mean the same thing?\nAnswer:",
      ["no", "yes"],
    ],
    [
      glue.qqp,
      "Question 1: It rains \nQuestion 2:  the street is wet\nQuestion: Do both questions ask the same thing?\nAnswer:",
      ["no", "yes"],
    ],
    [
      glue.mnli,
      "It rains \nQuestion: the street is wet. True, False or Neither?\nAnswer:",
      ["True", "Neither", "False"],
    ],
    [
      glue.qnli,
      "It rains \n the street is wet\nQuestion: Does this response answer the question?\nAnswer:",
      ["yes", "no"],
    ],
    [glue.rte, "It rains \nQuestion:  the street is wet True or False?\nAnswer:", ["True", "False"]],
    [glue.wnli, "It rains \nQuestion:  the street is wet True or False?\nAnswer:", ["False", "True"]],
  ] as const)("$name is ranked after lm-evaluation-harness's prompt", async (task, context, choices) => {
    expect(await asked(task, "loglikelihood")).toEqual(choices.map((choice) => `${context} ${choice}`));
  });

  test("an adapter is asked in its template, and its statements are ranked there", async () => {
    const instruction =
      "Please decide whether the following sentence is positive or negative: It rains\n\nAnswer format: negative/positive";
    expect(await asked(sst2, "fixed", "micro")).toEqual([`Q: ${instruction}\nA:`]);
    expect(await asked(sst2, "loglikelihood", "micro")).toEqual(
      ["negative", "positive"].map((word) => `Q: ${instruction}\nA: the correct answer is ${word}`),
    );
  });

  test("shots are solved problems", async () => {
    const docs = ["0", "1"].map((label) => ({ sentence1: `s${label}`, label }));
    const fake = fakeModel({ generate: () => "" });
    await runTask(on(sst2, docs), fake, { dataDirs: [], scoring: "fixed", template: "micro", numFewshot: 1 });
    const ask = (text: string) =>
      `Q: Please decide whether the following sentence is positive or negative: ${text}\n\nAnswer format: negative/positive\nA:`;
    expect(fake.asked[0]!.text).toBe(`${ask("s1")} the correct answer is positive\n\n${ask("s0")}`);
  });
});

test("stsb: ratings are read as numbers; what is none counts as one below the scale", async () => {
  const labels = ["0.000", "1.250", "3.800", "5.000"];
  const own = on(
    glue.stsb,
    labels.map((label, i) => ({ sentence1: `a${i}`, sentence2: `b${i}`, label })),
  );
  const run = (say: (doc: number) => string) => runTask(own, fakeModel({ generate: say }), { dataDirs: [] });
  const perfect = await run((doc) => `The correct answer is ${labels[doc]}.`);
  expect(valuesOf(perfect).pearson).toBeCloseTo(1, 12);
  expect(valuesOf(perfect).spearman).toBeCloseTo(1, 12);
  expect(perfect.samples[1]).toMatchObject({ pearson: [1.25, 1.25], filtered_resps: ["1.25"], target: "1.250" });
  const reversed = valuesOf(await run((doc) => String(5 - Number(labels[doc]))));
  expect(reversed.pearson).toBeCloseTo(-1, 12);
  expect(valuesOf(await run(() => "The answer is 3."))).toEqual({ pearson: 0, spearman: 0 });
  const odd = await run((doc) => ["not alike", "the answer is 900", "the answer is -2", "the answer is 4.5"][doc]!);
  expect(odd.samples.map(({ pearson }) => pearson)).toEqual([
    [0, -1],
    [1.25, -1],
    [3.8, -1],
    [5, 4.5],
  ]);
});

test("a sample has the gold and the predicted class, in this order", async () => {
  const own = on(glue.mrpc, [
    { sentence1: "a", sentence2: "b", label: "0" },
    { sentence1: "c", sentence2: "d", label: "1" },
  ]);
  const { samples } = await runTask(own, fakeModel({ generate: (doc) => ["It is true.", "Who knows."][doc]! }), {
    dataDirs: [],
  });
  expect(samples).toMatchObject([
    { target: "false", filtered_resps: ["true"], acc: 0, f1: [0, 1] },
    { target: "true", filtered_resps: [""], acc: 0, f1: [1, -1] },
  ]);
});

test("a label that the task does not know is named", async () => {
  const own = on(glue.rte, [{ sentence1: "a", sentence2: "b", label: "maybe" }]);
  const failing = runTask(own, fakeModel({ generate: () => "" }), { dataDirs: [] });
  await expect(failing).rejects.toThrow(new DataError('rte: the label "maybe" is none of entailment, not_entailment'));
});

test.skipIf(!shared("datasets/sst2"))("SST-2's development set: 872 rows, 444 of them positive", async () => {
  const dataDirs = [shared("datasets")!];
  const docs = await sst2.dataset.read(findDataset(sst2.dataset, "test", dataDirs));
  expect(docs.length).toBe(872);
  expect(docs.filter(({ label }) => label === "1").length).toBe(444);
  for (const scoring of ["fixed", "loglikelihood"] as const) {
    const run = async (meant: (doc: number) => number) => {
      const model = fakeModel({
        generate: (doc) => `the correct answer is ${["negative", "positive"][meant(doc)]}`,
        logprob: (doc, _text, place) => (place === meant(doc) ? -0.5 : -20),
      });
      return valuesOf(await runTask(sst2 as unknown as Task, model, { dataDirs, scoring }));
    };
    const gold = (doc: number) => Number(docs[doc]!.label);
    expect(await run(gold)).toEqual({ acc: 1, mcc: 1, f1: 1 });
    expect(await run((doc) => 1 - gold(doc))).toEqual({ acc: 0, mcc: -1, f1: 0 });
    expect(await run(() => 1)).toEqual({ acc: 444 / 872, mcc: 0, f1: (2 * 444) / (444 + 872) });
  }
});
