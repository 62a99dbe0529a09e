import { expect, test } from "bun:test";
import { pageOf } from "./output.ts";
import { studyPictures } from "./pictures.ts";
import type { CellResult, Score, StudyResults } from "./results.ts";
import { markdownOf, studyTables } from "./tables.ts";

/** Right answers of twenty problems. */
function score(task: string, right: number, contamination: string[] = []): Score {
  const value = right / 20;
  return {
    task,
    version: 1,
    scoring: "fixed",
    metric: "acc",
    value,
    stderr: Math.sqrt((value * (1 - value)) / 19),
    count: 20,
    dataset_sha256: "data",
    prompts_hash: task,
    outcomes: "1".repeat(right) + "0".repeat(20 - right),
    contamination,
    seconds: 1,
  };
}

const noAdapter = {
  method: null,
  placement: null,
  size_field: null,
  learning_rate: null,
  seed: null,
  config: null,
  trainable_parameters: 0,
  trained: null,
};

function base(model: string): CellResult {
  return {
    model,
    task: "arithmetic",
    title: "none",
    is_reference: true,
    ...noAdapter,
    scores: [score("math", 0), score("words", 2)],
  };
}

function lora(
  model: string,
  {
    r = 8,
    placement = "both",
    seed = 1,
    rate = 0.003,
  }: { r?: number; placement?: string; seed?: number; rate?: number },
  right: readonly [number, number],
): CellResult {
  return {
    model,
    task: "arithmetic",
    title: "LoRA",
    method: "lora",
    placement,
    size_field: "r",
    learning_rate: rate,
    seed,
    is_reference: false,
    // The model's own names: no difference between configurations.
    config: { peft_type: "LORA", r, lora_alpha: 16, target_modules: [`${model}.${placement}`] },
    trainable_parameters: 1000 * r,
    trained: { steps: 10, final_loss: 0.5, seconds: 2.25, failure: null },
    scores: [score("math", right[0]), score("words", right[1], ["5 % of these questions are in train.json"])],
  };
}

function prefix(model: string, tokens: number, right: number, isReference = false): CellResult {
  return {
    ...lora(model, {}, [right, right]),
    title: "Prefix",
    method: "prefix-tuning",
    placement: null,
    size_field: "num_virtual_tokens",
    is_reference: isReference,
    config: { peft_type: "PREFIX_TUNING", num_virtual_tokens: tokens },
  };
}

const diverged: CellResult = {
  ...lora("alpha", { rate: 0.1 }, [0, 0]),
  trained: { steps: 3, final_loss: null, seconds: 1, failure: "the loss is no number" },
  scores: [],
};

const study: StudyResults = {
  name: "constructed",
  description: "No <model> was run.",
  cells: [
    base("alpha"),
    lora("alpha", {}, [10, 12]),
    lora("alpha", { placement: "attention" }, [4, 8]),
    lora("alpha", { placement: "mlp" }, [12, 14]),
    lora("alpha", { r: 2 }, [6, 8]),
    lora("alpha", { r: 32 }, [14, 18]),
    diverged,
    prefix("alpha", 4, 3),
    prefix("alpha", 16, 2, true),
    base("beta"),
    lora("beta", {}, [5, 5]),
    prefix("beta", 16, 9, true),
  ],
};

test("tables of a constructed study", () => {
  expect(markdownOf(studyTables(study))).toMatchSnapshot();
});

test("over several seeds ± is their standard deviation, and comparisons count every seed", () => {
  const cells = [1, 2, 3].flatMap((seed) => [
    lora("alpha", { seed }, [8 + 2 * seed, 10]),
    { ...prefix("alpha", 16, 4), seed },
  ]);
  const [methods, comparisons] = studyTables({ ...study, cells });
  // (10, 12, 14) / 20 and their mean with 0.5.
  expect(methods!.rows[0]!.slice(2, 5)).toEqual(["60.0 ± 10.0", "50.0 ± 0.0", "55.0 ± 5.0"]);
  expect(methods!.notes[0]).toContain("± is the standard deviation over 3 seeds");
  expect(comparisons!.rows[0]).toEqual([
    "alpha",
    "LoRA",
    "Prefix",
    "math, words",
    "120",
    "42",
    "0",
    "< 0.0001",
    "LoRA is better",
  ]);
  expect(comparisons!.notes[0]).toContain("each counted once for each of 3 seeds, which makes p too small");
});

test("one configuration for each method needs no more than the first table", () => {
  const tables = studyTables({ ...study, cells: [base("alpha"), lora("alpha", {}, [10, 12])] });
  expect(tables.map(({ title }) => title)).toEqual(["Methods"]);
  expect(tables[0]!.heads).toEqual([
    "model",
    "adapter",
    "math",
    "words (contaminated)",
    "mean",
    "trained parameters",
    "seconds",
  ]);
});

test("scores of other problems are not compared", () => {
  const other = { ...prefix("alpha", 16, 4), scores: [{ ...score("math", 4), prompts_hash: "others" }] };
  expect(studyTables({ ...study, cells: [lora("alpha", {}, [10, 12]), other] }).map(({ title }) => title)).toEqual([
    "Methods",
  ]);
});

test("pictures say how many problems and seeds, and the page escapes what it is given", async () => {
  const pictures = await studyPictures(study);
  expect(pictures.map(({ name }) => name)).toEqual(["study", "placement", "configuration"]);
  for (const { svg } of pictures) {
    expect(svg).toStartWith("<svg");
    expect(svg).toContain("One seed; ± is the standard error");
    expect(svg).toContain("n = ");
  }
  for (const word of ["LoRA", "Prefix", "alpha", "beta"]) expect(pictures[0]!.svg).toContain(word);
  for (const word of ["attention", "mlp", "both"]) expect(pictures[1]!.svg).toContain(`>${word}<`);
  for (const word of ["num_virtual_tokens", "LoRA"]) expect(pictures[2]!.svg).toContain(word);
  const page = pageOf(study, studyTables(study), pictures);
  expect(page).toContain("No &lt;model&gt; was run.");
  expect(page).toContain("<strong>");
});
