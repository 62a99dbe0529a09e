/** Training jobs as OpenAI's fine-tuning API asks for them, with every adapter method and Graft's own settings. */
import { DEFAULT_PROMPT_TEMPLATE, promptTemplates, type TrainingFileInfo } from "@graft/core/data";
import { ConfigError, suggest, UnknownName } from "@graft/core/errors";
import { parseWith } from "@graft/core/io";
import { adamwDefaults, schedules, totalSteps } from "@graft/core/train";
import { z } from "zod";
import { type AdapterConfig, adapterConfigSchema, bindAdapter } from "../adapter.ts";
import type { Base, BoundMethod } from "../method.ts";
import { jobAdapter } from "./job-adapter.ts";
import { trainingDefaults } from "./defaults.ts";
import type { TrainRunOptions } from "./run.ts";

const auto = z.literal("auto");
const orAuto = <T extends z.ZodType>(type: T) => z.union([type, auto]).optional();
const steps = z.int().min(0);
const counts = z.int().min(1);

/** What may be said of a job's training. "auto" and nothing are the same: docs/training.md has the rules. */
const hyperparameters = {
  n_epochs: orAuto(z.number().positive()).describe("passes over the data (auto: 3)"),
  batch_size: orAuto(counts).describe("rows per optimizer step (auto: about 50 steps an epoch, at most 128)"),
  learning_rate_multiplier: orAuto(z.number().positive()).describe("factor on the usual rate of 3e-4 (auto: 1)"),
  learning_rate: z.number().positive().optional().describe("peak rate, in place of the multiplier"),
  micro_batch_size: counts.optional().describe("rows that go through the model at once; divides batch_size"),
  warmup_steps: steps.optional().describe("steps of rising rate (default: a tenth of all, at most 100)"),
  lr_scheduler: z
    .string()
    .optional()
    .describe(`schedule: ${Object.keys(schedules).join(", ")}`),
  cutoff_len: counts.optional().describe("longest example in tokens (default: 1024, or what the model holds)"),
  max_steps: counts.optional().describe("end after so many optimizer steps"),
  weight_decay: z.number().min(0).optional().describe("decoupled weight decay (default: 0)"),
  max_grad_norm: z.number().min(0).optional().describe("clip the gradient's L2 norm; 0 is never (default: 1)"),
  save_steps: steps.optional().describe("steps between checkpoints; 0 is never (default: an epoch, at most 200)"),
  eval_steps: steps
    .optional()
    .describe("steps between validations; 0 is only at the end (default: an epoch, at most 200)"),
  train_on_inputs: z.boolean().optional().describe("learn the prompt too (default: false)"),
  prompt_template: z
    .string()
    .optional()
    .describe(`of instructions: ${Object.keys(promptTemplates).join(", ")}`),
  gradient_checkpointing: z.boolean().optional().describe("recompute layers instead of keeping their activations"),
};
/** Loose, so that resolveJob can say which name was meant by an unknown one. */
export const hyperparametersSchema = z.looseObject(hyperparameters);

/** `name`: any method of Graft; or `peft_type`. The rest are fields of its config, as PEFT spells them. */
export const jobAdapterSchema = z.looseObject({
  name: z.string().optional().describe("adapter method (default: lora)"),
  peft_type: z.string().optional(),
});

/** `method.supervised` of OpenAI's API, and the seed. */
export const jobRequestSchema = z.object({
  hyperparameters: hyperparametersSchema.optional(),
  adapter: jobAdapterSchema.optional(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .optional(),
});
export type JobRequest = z.input<typeof jobRequestSchema>;

/** A job with every setting as it is used: plain JSON, to be kept. */
export const jobSpecSchema = z.strictObject({
  hyperparameters: z.strictObject({
    n_epochs: z.number(),
    batch_size: z.int(),
    learning_rate_multiplier: z.number(),
    learning_rate: z.number(),
    micro_batch_size: z.int(),
    warmup_steps: z.int(),
    lr_scheduler: z.string(),
    cutoff_len: z.int(),
    max_steps: z.int().nullable(),
    weight_decay: z.number(),
    max_grad_norm: z.number(),
    save_steps: z.int(),
    eval_steps: z.int(),
    train_on_inputs: z.boolean(),
    /** Null where the data is no instructions. */
    prompt_template: z.string().nullable(),
    gradient_checkpointing: z.boolean(),
  }),
  /** Graft's name of the method. */
  method: z.string(),
  adapter: adapterConfigSchema,
  seed: z.int(),
  rows: z.int(),
  total_steps: z.int(),
  trainable_parameters: z.int(),
});
export type JobSpec = z.output<typeof jobSpecSchema>;

/** What the rules of "auto" look at. */
export interface JobSetting {
  /** Of the training file. */
  readonly data: TrainingFileInfo;
  readonly base: Base;
  /** Folder of the base. */
  readonly modelPath: string;
}

/** Tokens of an example where nobody says: chats are longer than the paper's problems. */
const CUTOFF_LEN = 1024;
/** Optimizer steps of an epoch that an automatic batch size leaves. */
const STEPS_PER_EPOCH = 50;

/**
 * Checks a job against its data and its base, without a device, and settles every default. Throws ConfigError beginning with the field (`hyperparameters.batch_size: ...`);
 * for an unknown field or method it lists near names.
 */
export function resolveJob(request: JobRequest, { data, base, modelPath }: JobSetting): JobSpec {
  const {
    hyperparameters: asked = {},
    adapter = {},
    seed = trainingDefaults.seed,
  } = parseWith(jobRequestSchema, request, "job");
  for (const name of Object.keys(asked)) {
    if (name in hyperparameters) continue;
    const known = Object.keys(hyperparameters);
    throw new ConfigError(`hyperparameters.${name}: there is no such setting${suggest(name, known)}`);
  }
  const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== "auto")) as Settings;
  const batch = batchOf(given, data.rows);
  const schedule = given.lr_scheduler ?? trainingDefaults.schedule;
  checkName("lr_scheduler", schedule, Object.keys(schedules));
  const template = given.prompt_template ?? DEFAULT_PROMPT_TEMPLATE;
  checkName("prompt_template", template, Object.keys(promptTemplates));
  if (given.prompt_template !== undefined && data.format !== "instruction")
    throw new ConfigError(`hyperparameters.prompt_template: the data is of the ${data.format} format, which has none`);
  const epochs = given.n_epochs ?? trainingDefaults.epochs;
  const perEpoch = Math.ceil(data.rows / batch.batch_size);
  const total = totalSteps(
    { batchesPerEpoch: Math.ceil(data.rows / batch.micro_batch_size) },
    { epochs, accumulation: batch.batch_size / batch.micro_batch_size, maxSteps: given.max_steps },
  );
  const config = jobAdapter(adapter, { modelPath, totalSteps: total });
  const bound = bindNew(config, base);
  const trainable = bound.parameters.filter((p) => p.trainable);
  if (trainable.length === 0) throw new ConfigError("adapter: nothing in it is trainable");
  const room = base.sizes.maxLength - (bound.virtualTokens ?? 0);
  return {
    hyperparameters: {
      n_epochs: epochs,
      ...batch,
      ...rateOf(given),
      warmup_steps: given.warmup_steps ?? Math.min(trainingDefaults.warmupSteps, Math.floor(total / 10)),
      lr_scheduler: schedule,
      cutoff_len: Math.min(given.cutoff_len ?? CUTOFF_LEN, room),
      max_steps: given.max_steps ?? null,
      weight_decay: given.weight_decay ?? trainingDefaults.weightDecay,
      max_grad_norm: given.max_grad_norm ?? trainingDefaults.maxGradNorm,
      save_steps: given.save_steps ?? Math.min(trainingDefaults.saveSteps, perEpoch),
      eval_steps: given.eval_steps ?? Math.min(trainingDefaults.evalSteps, perEpoch),
      train_on_inputs: given.train_on_inputs ?? false,
      prompt_template: data.format === "instruction" ? template : null,
      gradient_checkpointing: given.gradient_checkpointing ?? false,
    },
    method: bound.method,
    adapter: config,
    seed,
    rows: data.rows,
    total_steps: total,
    trainable_parameters: trainable.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
  };
}

/** Where a job's files are. */
export interface JobPlaces {
  readonly dataPath: string;
  readonly validationPath?: string | undefined;
  readonly outputDir: string;
}

/** The training run of a job. Called again after a crash or a pause it goes on from the newest checkpoint, to the same bytes. */
export function jobOptions(spec: JobSpec, { dataPath, validationPath, outputDir }: JobPlaces): TrainRunOptions {
  const { hyperparameters: h } = spec;
  return {
    dataPath,
    validationPath,
    outputDir,
    adapterConfig: spec.adapter,
    promptTemplate: h.prompt_template ?? DEFAULT_PROMPT_TEMPLATE,
    cutoffLen: h.cutoff_len,
    trainOnInputs: h.train_on_inputs,
    valSetSize: 0,
    batchSize: h.batch_size,
    microBatchSize: h.micro_batch_size,
    groupByLength: false,
    packing: false,
    epochs: h.n_epochs,
    maxSteps: h.max_steps ?? undefined,
    learningRate: h.learning_rate,
    schedule: h.lr_scheduler,
    warmupSteps: h.warmup_steps,
    optimizer: { ...adamwDefaults, weightDecay: h.weight_decay },
    maxGradNorm: h.max_grad_norm,
    lossReduction: "token",
    gradientCheckpointing: h.gradient_checkpointing,
    seed: spec.seed,
    evalSteps: h.eval_steps,
    saveSteps: h.save_steps,
    saveTotalLimit: trainingDefaults.saveTotalLimit,
    resume: "ifAny",
  };
}

/** What was asked for, "auto" left out. */
type Settings = {
  readonly [K in keyof typeof hyperparameters]?: Exclude<z.output<(typeof hyperparameters)[K]>, "auto">;
};

/** A module that the base has not is a wrong setting, as any other. */
function bindNew(config: AdapterConfig, base: Base): BoundMethod {
  try {
    return bindAdapter(config, base, "adapter");
  } catch (cause) {
    if (cause instanceof UnknownName) throw new ConfigError(cause.message, { cause });
    throw cause;
  }
}

function batchOf({ batch_size, micro_batch_size }: Settings, rows: number) {
  const usual = 2 ** Math.floor(Math.log2(Math.max(1, rows / STEPS_PER_EPOCH)));
  const batch = batch_size ?? Math.max(Math.min(trainingDefaults.batchSize, usual), micro_batch_size ?? 1);
  const micro = micro_batch_size ?? largestDivisor(batch, trainingDefaults.microBatchSize);
  if (batch % micro !== 0)
    throw new ConfigError(`hyperparameters.micro_batch_size: ${micro} does not divide batch_size, which is ${batch}`);
  return { batch_size: batch, micro_batch_size: micro };
}

function largestDivisor(of: number, most: number): number {
  for (let divisor = most; divisor > 1; divisor--) if (of % divisor === 0) return divisor;
  return 1;
}

function rateOf({ learning_rate, learning_rate_multiplier }: Settings) {
  if (learning_rate !== undefined && learning_rate_multiplier !== undefined)
    throw new ConfigError("hyperparameters.learning_rate: learning_rate_multiplier says the same; give one of them");
  const rate = learning_rate ?? trainingDefaults.learningRate * (learning_rate_multiplier ?? 1);
  return {
    learning_rate: rate,
    learning_rate_multiplier: learning_rate_multiplier ?? rate / trainingDefaults.learningRate,
  };
}

function checkName(field: string, name: string, known: readonly string[]): void {
  if (!known.includes(name))
    throw new ConfigError(`hyperparameters.${field}: unknown name "${name}"${suggest(name, known)}`);
}
