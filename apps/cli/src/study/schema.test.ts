import { afterAll, expect, test } from "bun:test";
import { ConfigError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { microRecipe } from "../micro.ts";
import { parseStudy, readStudy } from "./schema.ts";

const scratch = mkdtempSync(join(tmpdir(), "study-file-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const small = {
  name: "small",
  models: ["models/a", { path: "org/b", name: "other" }],
  tasks: [{ name: "math", train: "math.json", eval: "gsm8k" }],
  variants: [{ method: "lora", settings: { r: [4, 8] } }],
};

test("what a study leaves out is graft train's default, and one value is as good as a list of it", () => {
  const study = parseStudy(small, "s.yaml");
  expect(study.models.map(({ name }) => name)).toEqual(["a", "other"]);
  expect(study.seeds).toEqual([42]);
  expect(study.tasks[0]!.eval).toEqual(["gsm8k"]);
  expect(study.variants[0]).toMatchObject({ title: "lora", reference: false, settings: { r: [4, 8] } });
  expect(study.training).toMatchObject({
    prompt_template: "paper",
    batch_size: 128,
    learning_rate: 3e-4,
    val_set_size: 0,
  });
});

test.each([
  ['s.yaml: the value: Unrecognized key: "model"', { ...small, model: "a" }],
  ["s.yaml: tasks: ", { ...small, tasks: [] }],
  ["s.yaml: tasks.0.eval", { ...small, tasks: [{ name: "math", train: "math.json" }] }],
  ["s.yaml: seeds.1: ", { ...small, seeds: [1, -1] }],
  ["s.yaml: name: is a name without slashes", { ...small, name: "../elsewhere" }],
  ["s.yaml: name: is a name without slashes", { ...small, name: ".." }],
  ['s.yaml: training: Unrecognized key: "steps"', { ...small, training: { steps: 3 } }],
  [
    's.yaml: training.lr_scheduler_type: "liner" is unknown; did you mean linear',
    { ...small, training: { lr_scheduler_type: "liner" } },
  ],
  ['s.yaml: evaluation.scoring: "papr" is unknown; did you mean paper', { ...small, evaluation: { scoring: "papr" } }],
  [
    's.yaml: variants.0.method: unknown adapter method "lorra"; did you mean lora',
    { ...small, variants: [{ method: "lorra" }] },
  ],
  [
    's.yaml: variants.0.placement.1: is attention, mlp, both, or {name, target_modules: [...]}, not "q_proj"',
    { ...small, variants: [{ method: "lora", placement: ["mlp", "q_proj"] }] },
  ],
  [
    's.yaml: variants.0.models: no model of this study is called "c"',
    { ...small, variants: [{ method: "lora", models: "c" }] },
  ],
  [
    's.yaml: variants.0.tasks: no task of this study is called "maths"; did you mean math',
    { ...small, variants: [{ method: "lora", tasks: "maths" }] },
  ],
  ['s.yaml: models: two of them are called "a"; give them names', { ...small, models: ["x/a", "y/a"] }],
  [
    's.yaml: variants.1: "A" is the title of lora already; give series another',
    {
      ...small,
      variants: [
        { title: "A", method: "lora" },
        { title: "A", method: "series" },
      ],
    },
  ],
  [
    's.yaml: variants.0: "none" is the title of the model alone already',
    { ...small, variants: [{ title: "none", method: "lora" }] },
  ],
  ["s.yaml: the value: ", "a word"],
])("a file that is wrong is answered with its field: %s", (says, value) => {
  let message = "";
  try {
    parseStudy(value, "s.yaml");
  } catch (error) {
    expect((error as Error).name).toBe("ConfigError");
    message = (error as Error).message;
  }
  expect(message).toStartWith(says);
});

test("paths begin at the study's folder, and what is no folder there is a hub name", async () => {
  const path = join(scratch, "study.yaml");
  writeFileSync(
    path,
    "name: s\nmodels: [., org/b]\ntasks: [{name: t, train: rows.json, eval: [my.yaml, gsm8k]}]\nvariants: [{method: lora}]\nevaluation: {data_dir: sets}\n",
  );
  await expect(readStudy(path)).rejects.toThrow(
    `${path}: models: "." is no name of a folder; give it one: {name, path}`,
  );
  writeFileSync(
    path,
    `name: s\nmodels: [${JSON.stringify(scratch)}, org/b]\ntasks: [{name: t, train: rows.json, eval: [my.yaml, gsm8k]}]\nvariants: [{method: lora}]\nevaluation: {data_dir: sets}\n`,
  );
  const study = await readStudy(path);
  expect(study.models.map((model) => model.path)).toEqual([scratch, "org/b"]);
  expect(study.tasks[0]).toMatchObject({
    train: join(scratch, "rows.json"),
    eval: [join(scratch, "my.yaml"), "gsm8k"],
  });
  expect(study.evaluation.data_dir).toEqual([join(scratch, "sets")]);

  writeFileSync(path, "name: [");
  await expect(readStudy(path)).rejects.toThrow(`${path}: cannot be read (`);
  await expect(readStudy(join(scratch, "nowhere.json"))).rejects.toThrow("nowhere.json: cannot be read (");
});

test("the study that comes with Graft trains as the micro models' adapters are trained", async () => {
  const { training, seeds } = await readStudy(join(import.meta.dir, "../../../../examples/studies/micro.yaml"));
  expect({ ...training, seed: seeds[0]! }).toMatchObject({
    prompt_template: microRecipe.promptTemplate,
    cutoff_len: microRecipe.cutoffLen,
    train_on_inputs: microRecipe.trainOnInputs,
    val_set_size: microRecipe.valSetSize,
    batch_size: microRecipe.batchSize,
    micro_batch_size: microRecipe.microBatchSize,
    num_epochs: microRecipe.epochs,
    lr_scheduler_type: microRecipe.schedule,
    warmup_steps: microRecipe.warmupSteps,
    max_grad_norm: microRecipe.maxGradNorm,
    loss_reduction: microRecipe.lossReduction,
    seed: microRecipe.seed,
  });
});

test("whatever stands in a file, it is a study or a ConfigError", () => {
  const random = new Random(11);
  const pick = <T>(values: readonly T[]): T => values[random.int(values.length)]!;
  const values = [
    null,
    "",
    "x",
    "../..",
    -1,
    0,
    1.5,
    Number.POSITIVE_INFINITY,
    true,
    [],
    [[]],
    ["lora", 3],
    {},
    { name: "a" },
    { path: {} },
  ];
  const damaged = (value: unknown): unknown => {
    if (random.int(6) === 0) return pick(values);
    if (Array.isArray(value)) return value.map((entry) => (random.int(3) === 0 ? damaged(entry) : (entry as unknown)));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, entry]) => [
        random.int(20) === 0 ? `${key}s` : key,
        random.int(2) === 0 ? damaged(entry) : (entry as unknown),
      ]),
    );
  };
  const outcomes = { studies: 0, errors: 0 };
  for (let i = 0; i < 2000; i++) {
    const value = damaged({ ...small, seeds: [1], training: { max_steps: 3 }, evaluation: { limit: 2 } });
    try {
      parseStudy(value, "s.yaml");
      outcomes.studies++;
    } catch (error) {
      if (!(error instanceof ConfigError) || !error.message.startsWith("s.yaml: ") || error.message.includes("\n"))
        throw new Error(`seed 11, case ${i}: ${JSON.stringify(value)}`, { cause: error });
      outcomes.errors++;
    }
  }
  expect(Math.min(outcomes.studies, outcomes.errors)).toBeGreaterThan(100);
});
