import { readAdapterConfig } from "@graft/adapters";
import { trainingDefaults } from "@graft/adapters/train";
import { promptTemplates } from "@graft/core/data";
import { loadBaseModel } from "@graft/core/models";
import { loadTokenizer } from "@graft/core/text";
import { adamwDefaults, schedules } from "@graft/core/train";
import { openCommandDevice } from "../device.ts";
import { z } from "zod";
import { defineCommand, oneOf, UsageError } from "../command.ts";
import { resolveModelFolder } from "../load-model.ts";
import { dtypeOption, modelOptions, quantizationOf, quantizationOptions } from "../model-options.ts";
import { tasksOfFlag } from "../eval/chosen-tasks.ts";
import { dataDirsOf } from "../eval/data-dirs.ts";
import { adapterConfigOf, adapterOptions } from "../train/adapter-options.ts";
import { lossPlot } from "../train/progress.ts";
import { runTraining } from "../train/run.ts";
import { openTaskEvals } from "../train/task-evals.ts";

const options = z.object({
  baseModel: modelOptions.model,
  dataPath: z
    .string()
    .describe("JSON or JSONL of instruction, input, output; of OpenAI's messages; or of prompt, completion; .gz too"),
  validationPath: z.string().optional().describe("rows to validate on, in place of --val-set-size"),
  outputDir: z.string().describe("where the adapter, checkpoints and metrics.jsonl go"),
  ...adapterOptions,
  fromAdapter: z
    .string()
    .optional()
    .describe("an adapter folder to begin with, its method, config and values, in place of a fresh adapter"),
  load8bit: z.boolean().default(false).describe("the same as --quantization int8"),
  load4bit: z.boolean().default(false).describe("the same as --quantization nf4 (QLoRA)"),
  dtype: dtypeOption,
  ...quantizationOptions,
  batchSize: z.int().min(1).default(trainingDefaults.batchSize).describe("rows per optimizer step"),
  microBatchSize: z
    .int()
    .min(1)
    .default(trainingDefaults.microBatchSize)
    .describe("rows that go through the model at once"),
  numEpochs: z.number().positive().default(trainingDefaults.epochs).describe("passes over the data"),
  maxSteps: z.int().min(1).optional().describe("end after so many optimizer steps"),
  learningRate: z.number().positive().default(trainingDefaults.learningRate).describe("peak learning rate"),
  lrSchedulerType: oneOf(Object.keys(schedules))
    .default(trainingDefaults.schedule)
    .describe(`schedule: ${Object.keys(schedules).join(", ")}`),
  warmupSteps: z.int().min(0).default(trainingDefaults.warmupSteps).describe("steps of rising rate"),
  weightDecay: z.number().min(0).default(trainingDefaults.weightDecay).describe("decoupled weight decay"),
  maxGradNorm: z
    .number()
    .min(0)
    .default(trainingDefaults.maxGradNorm)
    .describe("clip the gradient's L2 norm; 0 is never"),
  cutoffLen: z.int().min(1).default(trainingDefaults.cutoffLen).describe("longest example in tokens"),
  valSetSize: z
    .int()
    .min(0)
    .optional()
    .describe(`rows kept for validation (default: ${trainingDefaults.valSetSize}; 0 with --validation-path)`),
  useGradientCheckpointing: z
    .boolean()
    .default(false)
    .describe("recompute layers instead of keeping their activations"),
  evalStep: z
    .int()
    .min(0)
    .default(trainingDefaults.evalSteps)
    .describe("steps between validations; 0 is only at the end"),
  evalTasks: z
    .array(z.string())
    .default([])
    .describe("tasks to run at each validation and at the end: names, groups, or files that describe one"),
  evalLimit: z.int().min(1).default(100).describe("problems of each of them"),
  evalDataDir: z.array(z.string()).default([]).describe("folders with their files, such as gsm8k/test.json"),
  saveStep: z.int().min(0).default(trainingDefaults.saveSteps).describe("steps between checkpoints; 0 is never"),
  saveTotalLimit: z
    .int()
    .min(1)
    .default(trainingDefaults.saveTotalLimit)
    .describe("checkpoints kept, the best one besides"),
  trainOnInputs: z
    .boolean()
    .optional()
    .describe("learn the prompt too; false masks it (default: true for instructions, false for chats and completions)"),
  groupByLength: z.boolean().default(false).describe("rows of similar length share a batch"),
  packing: z.boolean().default(false).describe("several examples share a row; they do not see one another"),
  lossReduction: oneOf(["token", "micro"])
    .default("token")
    .describe("mean over all tokens of a step, or mean of micro-batch means (transformers before 4.46)"),
  promptTemplate: oneOf(Object.keys(promptTemplates))
    .default("paper")
    .describe(
      `of instructions: ${Object.keys(promptTemplates).join(", ")}; paper is LLM-Adapters' byte for byte. Chats have the model's chat template`,
    ),
  maxRows: z.int().min(1).optional().describe("only the first rows of the data"),
  resumeFromCheckpoint: z.string().optional().describe("a checkpoint folder, or true for the newest"),
  seed: z.int().min(0).default(trainingDefaults.seed).describe("of initialisation, order and dropout"),
  wandbProject: z.string().optional().describe("accepted and not used: metrics are in metrics.jsonl"),
  wandbRunName: z.string().optional().describe("accepted and not used"),
  wandbWatch: z.string().optional().describe("accepted and not used"),
  wandbLogModel: z.string().optional().describe("accepted and not used"),
  json: z.boolean().default(false).describe("print the result as JSON"),
});

/** Of the flags that scripts use, and the option. Throws UsageError if they do not agree. */
function chosenQuantization({ load8bit, load4bit, quantization }: z.output<typeof options>): typeof quantization {
  const asked = new Set<typeof quantization>();
  if (load8bit) asked.add("int8");
  if (load4bit) asked.add("nf4");
  if (quantization !== undefined) asked.add(quantization);
  if (asked.size > 1)
    throw new UsageError("--load-8bit, --load-4bit and --quantization say different things; give one of them");
  return [...asked][0];
}

export default defineCommand({
  name: "train",
  summary: "fine-tune an adapter on a frozen base (alias: finetune)",
  description:
    "Trains an adapter. The flags of LLM-Adapters' finetune.py work unchanged, with underscores or dashes. Ctrl-C saves a checkpoint.",
  examples: [
    "graft train --base-model DIR --data-path rows.json --output-dir out --lora-r 8 --target-modules q_proj,v_proj",
    `graft finetune --base_model DIR --data_path math_10k.json --output_dir ./trained --batch_size 16 --micro_batch_size 4 --num_epochs 3 --learning_rate 3e-4 --cutoff_len 256 --val_set_size 120 --adapter_name lora --target_modules '["q_proj", "v_proj"]'`,
    "graft train --base-model DIR --data-path rows.json --output-dir out --adapter-name prefix-tuning --num-virtual-tokens 30",
    "graft train --base-model DIR --data-path chat.jsonl --val-set-size 100 --output-dir out",
    "graft train --base-model DIR --data-path more.json --output-dir further --from-adapter out",
    "graft train --config run.yaml --resume-from-checkpoint true",
    "graft train --base-model DIR --data-path rows.json --output-dir out --eval-tasks gsm8k,svamp --eval-limit 50 --eval-data-dir datasets",
    "graft train --base-model DIR --data-path rows.json --output-dir out --load-4bit --target-modules all-linear",
  ],
  options,
  async run(o, { print, log, signal }) {
    const quantization = quantizationOf({ ...o, quantization: chosenQuantization(o) });
    if (o.microBatchSize > o.batchSize)
      throw new UsageError(`--micro-batch-size ${o.microBatchSize} is over --batch-size ${o.batchSize}`);
    if (o.wandbProject || o.wandbRunName) log(`W&B is not used; metrics are in ${o.outputDir}/metrics.jsonl`);
    const folder = await resolveModelFolder(o.baseModel);
    const device = await openCommandDevice();
    try {
      const model = loadBaseModel(device, folder, { dtype: o.dtype, quantization });
      const tokenizer = loadTokenizer(folder);
      const { config, unused } = o.fromAdapter
        ? { config: readAdapterConfig(o.fromAdapter), unused: [] }
        : adapterConfigOf(o, folder);
      for (const flag of unused) log(`${flag} is no option of ${o.adapterName} and is not used`);
      const tasks = o.evalTasks.length > 0 ? await tasksOfFlag("--eval-tasks", o.evalTasks) : [];
      const taskEvals =
        tasks.length > 0
          ? openTaskEvals(
              model,
              tokenizer,
              { tasks, dataDirs: dataDirsOf(o.evalDataDir), limit: o.evalLimit, promptTemplate: o.promptTemplate },
              log,
            )
          : undefined;
      const result = await runTraining(
        model,
        tokenizer,
        {
          dataPath: o.dataPath,
          outputDir: o.outputDir,
          adapterConfig: { base_model_name_or_path: o.baseModel, ...config },
          fromAdapter: o.fromAdapter,
          promptTemplate: o.promptTemplate,
          cutoffLen: o.cutoffLen,
          trainOnInputs: o.trainOnInputs,
          validationPath: o.validationPath,
          valSetSize: o.valSetSize ?? (o.validationPath === undefined ? trainingDefaults.valSetSize : 0),
          batchSize: o.batchSize,
          microBatchSize: o.microBatchSize,
          groupByLength: o.groupByLength,
          packing: o.packing,
          maxRows: o.maxRows,
          epochs: o.numEpochs,
          maxSteps: o.maxSteps,
          learningRate: o.learningRate,
          schedule: o.lrSchedulerType,
          warmupSteps: o.warmupSteps,
          optimizer: { ...adamwDefaults, weightDecay: o.weightDecay },
          maxGradNorm: o.maxGradNorm,
          lossReduction: o.lossReduction,
          gradientCheckpointing: o.useGradientCheckpointing,
          seed: o.seed,
          evalSteps: o.evalStep,
          saveSteps: o.saveStep,
          saveTotalLimit: o.saveTotalLimit,
          resumeFromCheckpoint: o.resumeFromCheckpoint,
        },
        { signal, log, taskEvals },
      );
      await taskEvals?.close();
      const { losses, evalLosses, taskScores, steps, trainableParameters, reason, tokensPerSecond } = result;
      if (o.json) {
        print(
          JSON.stringify({
            output_dir: o.outputDir,
            steps,
            reason,
            trainable_parameters: trainableParameters,
            losses,
            eval_losses: evalLosses,
            ...(taskScores.length > 0 ? { eval_tasks: taskScores } : {}),
            tokens_per_second: tokensPerSecond,
          }),
        );
      } else {
        const plot = lossPlot(losses);
        if (plot) log(plot);
        print(`${reason} after ${steps} steps; the adapter is in ${o.outputDir}`);
      }
      model.destroy();
      return reason === "stopped" ? 130 : 0;
    } finally {
      await device.close();
    }
  },
});
