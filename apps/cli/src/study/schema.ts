/** What a study file says: models, tasks, a grid of adapters, how they are trained and measured. Names are those of `graft train` and `graft eval`. */
import { promptTemplates } from "@graft/core/data";
import { ConfigError, suggest } from "@graft/core/errors";
import { parseWith } from "@graft/core/io";
import { methodsByName } from "@graft/adapters";
import { schedules } from "@graft/core/train";
import { scoringNames } from "@graft/eval";
import { existsSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { z } from "zod";
import { oneOf } from "../command.ts";
import { readDescription } from "../eval/read-description.ts";
import { dtypeOption, quantizationOptions } from "../model-options.ts";

/** A value, or a list of them that spans the grid. */
const spanned = <T extends z.ZodType>(item: T) =>
  z.preprocess((value) => (Array.isArray(value) ? value : [value]), z.array(item).min(1, "names nothing"));

/** Names of folders too. */
const nameSchema = z.string().regex(/^[^/\\]*[^/\\.][^/\\]*$/, "is a name without slashes");

const modelSchema = z.strictObject({
  /** Default: the folder's. */
  name: nameSchema.optional(),
  /** A folder, or a hub name. */
  path: z.string().min(1),
  dtype: dtypeOption,
  quantization: quantizationOptions.quantization,
});

const taskSchema = z.strictObject({
  name: nameSchema,
  train: z.string().min(1),
  train_max_rows: z.int().min(1).optional(),
  /** Tasks, groups of them, or files that describe one. */
  eval: spanned(z.string()),
});

/** As `graft train`'s flags, with its defaults, except that nothing is kept for validation: the last weights are measured. */
const trainingSchema = z.strictObject({
  prompt_template: oneOf(Object.keys(promptTemplates)).default("paper"),
  cutoff_len: z.int().min(1).default(256),
  train_on_inputs: z.boolean().default(true),
  batch_size: z.int().min(1).default(128),
  micro_batch_size: z.int().min(1).default(4),
  num_epochs: z.number().positive().default(3),
  max_steps: z.int().min(1).optional(),
  learning_rate: z.number().positive().default(3e-4),
  lr_scheduler_type: oneOf(Object.keys(schedules)).default("linear"),
  warmup_steps: z.int().min(0).default(100),
  weight_decay: z.number().min(0).default(0),
  max_grad_norm: z.number().min(0).default(1),
  loss_reduction: oneOf(["token", "micro"]).default("token"),
  group_by_length: z.boolean().default(false),
  packing: z.boolean().default(false),
  use_gradient_checkpointing: z.boolean().default(false),
  val_set_size: z.int().min(0).default(0),
  eval_step: z.int().min(0).default(200),
});

/** As `graft eval`'s flags. */
const evaluationSchema = z.strictObject({
  scoring: oneOf([...scoringNames]).optional(),
  limit: z.int().min(1).optional(),
  num_fewshot: z.int().min(0).default(0),
  data_dir: spanned(z.string()).default([]),
  batch_size: z.int().min(1).default(16),
  max_new_tokens: z.int().min(1).optional(),
});

/** What the model without an adapter is called. */
export const BASE_TITLE = "none";

export const placements = ["attention", "mlp", "both"] as const;

const placementSchema = z.union(
  [oneOf(placements), z.strictObject({ name: z.string().min(1), target_modules: z.array(z.string()).min(1) })],
  { error: ({ input }) => `is attention, mlp, both, or {name, target_modules: [...]}, not ${JSON.stringify(input)}` },
);
export type Placement = z.output<typeof placementSchema>;

const variantSchema = z.strictObject({
  /** Variants of one title are one method to the report. Default: the method's name. */
  title: z.string().min(1).optional(),
  method: z.string(),
  /** Stands for its title in the main table, instead of the best one. */
  reference: z.boolean().default(false),
  placement: spanned(placementSchema).optional(),
  /** Fields of the method's config. A list spans the grid; a value that is itself a list stands in one more list. */
  settings: z.record(z.string(), z.unknown()).default({}),
  /** Default: that of `training`. */
  learning_rate: spanned(z.number().positive()).optional(),
  /** Only on these; default: on all. */
  models: spanned(z.string()).optional(),
  tasks: spanned(z.string()).optional(),
});

const studySchema = z
  .strictObject({
    name: nameSchema,
    description: z.string().default(""),
    models: z
      .array(
        z.union([
          z
            .string()
            .min(1)
            .transform((path) => modelSchema.parse({ path })),
          modelSchema,
        ]),
      )
      .min(1),
    /** Each model without an adapter too. */
    base: z.boolean().default(true),
    tasks: z.array(taskSchema).min(1),
    seeds: spanned(z.int().min(0)).default([42]),
    training: trainingSchema.prefault({}),
    evaluation: evaluationSchema.prefault({}),
    variants: z.array(variantSchema).min(1),
  })
  .transform((study) => ({
    ...study,
    models: study.models.map((model) => ({ ...model, name: model.name ?? basename(model.path) })),
    variants: study.variants.map((variant) => ({ ...variant, title: variant.title ?? variant.method })),
  }));
export type Study = z.output<typeof studySchema>;
export type StudyModel = Study["models"][number];
export type StudyTask = Study["tasks"][number];
export type Variant = Study["variants"][number];

/** A study file, with paths that begin at its folder made whole. Throws ConfigError naming the field. */
export async function readStudy(path: string): Promise<Study> {
  const study = parseStudy(await readDescription(path), path);
  const whole = (file: string): string => resolve(dirname(path), file);
  const { micro_batch_size: micro, batch_size: batch } = study.training;
  if (micro > batch) throw new ConfigError(`${path}: training.micro_batch_size ${micro} is over batch_size ${batch}`);
  return {
    ...study,
    // What is no folder is a hub name.
    models: study.models.map((model) =>
      existsSync(whole(model.path)) ? { ...model, path: whole(model.path) } : model,
    ),
    tasks: study.tasks.map((task) => ({
      ...task,
      train: whole(task.train),
      eval: task.eval.map((word) => (isDescription(word) ? whole(word) : word)),
    })),
    evaluation: { ...study.evaluation, data_dir: study.evaluation.data_dir.map(whole) },
  };
}

/** Is a task's word the file that describes it? */
export const isDescription = (word: string): boolean => /\.(json|ya?ml)$/.test(word);

/** A parsed file whose names agree with each other. Throws ConfigError beginning with `where`. */
export function parseStudy(value: unknown, where: string): Study {
  const study = parseWith(studySchema, value, where);
  const models = distinct(study.models, "models", where);
  const tasks = distinct(study.tasks, "tasks", where);
  const methodOf = new Map([[BASE_TITLE, "the model alone"]]);
  for (const [i, variant] of study.variants.entries()) {
    const field = `${where}: variants.${i}`;
    known(variant.method, methodsByName.keys(), `${field}.method: unknown adapter method`);
    for (const name of variant.models ?? []) known(name, models, `${field}.models: no model of this study is called`);
    for (const name of variant.tasks ?? []) known(name, tasks, `${field}.tasks: no task of this study is called`);
    const other = methodOf.get(variant.title) ?? variant.method;
    if (other !== variant.method)
      throw new ConfigError(
        `${field}: "${variant.title}" is the title of ${other} already; give ${variant.method} another`,
      );
    methodOf.set(variant.title, variant.method);
  }
  return study;
}

function distinct(entries: readonly { readonly name: string }[], field: string, where: string): Set<string> {
  const names = entries.map(({ name }) => name);
  const unfit = names.find((name) => !nameSchema.safeParse(name).success);
  if (unfit !== undefined)
    throw new ConfigError(`${where}: ${field}: "${unfit}" is no name of a folder; give it one: {name, path}`);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw new ConfigError(`${where}: ${field}: two of them are called "${twice}"; give them names`);
  return new Set(names);
}

function known(name: string, names: Iterable<string>, says: string): void {
  const all = [...names];
  if (!all.includes(name)) throw new ConfigError(`${says} "${name}"${suggest(name, all)}`);
}
