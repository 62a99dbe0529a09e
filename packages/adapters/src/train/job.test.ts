import { expect, test } from "bun:test";
import type { TrainingFileInfo } from "@graft/core/data";
import { ConfigError } from "@graft/core/errors";
import { join, resolve } from "node:path";
import { openBaseFolder } from "../base.ts";
import { methods } from "../registry.ts";
import { jobOptions, type JobRequest, jobSpecSchema, resolveJob } from "./job.ts";

const models = resolve(import.meta.dir, "../../../../models");
const modelPath = join(models, "graft-micro-llama");
const base = openBaseFolder(modelPath);
const settle = (request: JobRequest, rows = 1000, format: TrainingFileInfo["format"] = "chat") =>
  resolveJob(request, { data: { format, rows }, base, modelPath });
const places = { dataPath: "data", outputDir: "out" };

test("nothing asked for and auto are the same, and every default is in the job", () => {
  const spec = settle({});
  expect(
    settle({
      hyperparameters: { n_epochs: "auto", batch_size: "auto", learning_rate_multiplier: "auto" },
      adapter: { name: "lora" },
      seed: 42,
    }),
  ).toEqual(spec);
  expect(jobSpecSchema.parse(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
  expect(spec.hyperparameters).toEqual({
    ...{ n_epochs: 3, batch_size: 16, learning_rate_multiplier: 1, learning_rate: 3e-4, micro_batch_size: 4 },
    ...{
      warmup_steps: 18,
      lr_scheduler: "linear",
      cutoff_len: 256,
      max_steps: null,
      weight_decay: 0,
      max_grad_norm: 1,
    },
    ...{ save_steps: 63, eval_steps: 63, train_on_inputs: false, prompt_template: null, gradient_checkpointing: false },
  });
  expect(spec).toMatchObject({ method: "lora", seed: 42, rows: 1000, total_steps: 189 });
  expect(spec.adapter).toMatchObject({ peft_type: "LORA", r: 8, lora_alpha: 16, base_model_name_or_path: modelPath });
  expect(jobOptions(spec, places)).toMatchObject({
    epochs: 3,
    batchSize: 16,
    microBatchSize: 4,
    resume: "ifAny",
    seed: 42,
    valSetSize: 0,
  });
});

test("an automatic batch leaves some fifty steps an epoch, up to 128 rows; micro-batches divide it", () => {
  const batches = (rows: number, hyperparameters: NonNullable<JobRequest["hyperparameters"]> = {}) => {
    const { batch_size, micro_batch_size } = settle({ hyperparameters }, rows).hyperparameters;
    return [batch_size, micro_batch_size];
  };
  expect([1, 10, 99, 100, 400, 6400, 1e6].map((rows) => batches(rows))).toEqual([
    [1, 1],
    [1, 1],
    [1, 1],
    [2, 2],
    [8, 4],
    [128, 4],
    [128, 4],
  ]);
  expect(batches(1000, { batch_size: 6 })).toEqual([6, 3]);
  expect(batches(1000, { batch_size: 7 })).toEqual([7, 1]);
  expect(batches(10, { micro_batch_size: 8 })).toEqual([8, 8]);
});

test("the multiplier and the rate say the same", () => {
  expect(settle({ hyperparameters: { learning_rate_multiplier: 2 } }).hyperparameters.learning_rate).toBeCloseTo(
    6e-4,
    12,
  );
  expect(settle({ hyperparameters: { learning_rate: 6e-4 } }).hyperparameters.learning_rate_multiplier).toBeCloseTo(
    2,
    12,
  );
});

test("every method by its name, PEFT's fields by their peft_type, with what PEFT writes beside them", () => {
  for (const { name, tiny } of Object.values(methods)) {
    const { method, trainable_parameters } = settle({ adapter: { name, ...(tiny as object) } });
    expect([name, method]).toEqual([name, name]);
    expect(trainable_parameters).toBeGreaterThan(0);
  }
  const peft = {
    task_type: "CAUSAL_LM",
    inference_mode: true,
    peft_version: "0.19.1",
    megatron_config: null,
    loftq_config: {},
  };
  expect(settle({ adapter: { peft_type: "LORA", r: 4, target_modules: ["q_proj"], ...peft } }).adapter).toMatchObject({
    r: 4,
    target_modules: ["q_proj"],
  });
  expect(settle({ adapter: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 20 } }).hyperparameters.cutoff_len).toBe(
    236,
  );
  expect(settle({ adapter: { peft_type: "BOTTLENECK", use_parallel_adapter: true } }).method).toBe("parallel");
  expect(settle({ adapter: { name: "adalora" } }).adapter.total_step).toBe(189);
});

test.each<[request: unknown, ...says: string[]]>([
  [
    { hyperparameters: { batchsize: 4 } },
    "hyperparameters.batchsize: there is no such setting; did you mean batch_size?",
  ],
  [{ hyperparameters: { n_epochs: 0 } }, "hyperparameters.n_epochs"],
  [{ hyperparameters: { batch_size: "many" } }, "hyperparameters.batch_size"],
  [
    { hyperparameters: { batch_size: 4, micro_batch_size: 3 } },
    "hyperparameters.micro_batch_size: 3 does not divide batch_size, which is 4",
  ],
  [
    { hyperparameters: { lr_scheduler: "linaer" } },
    'hyperparameters.lr_scheduler: unknown name "linaer"; did you mean linear?',
  ],
  [
    { hyperparameters: { prompt_template: "alpaca" } },
    "hyperparameters.prompt_template: the data is of the chat format, which has none",
  ],
  [
    { hyperparameters: { learning_rate: 1, learning_rate_multiplier: 1 } },
    "hyperparameters.learning_rate: learning_rate_multiplier says the same",
  ],
  [{ adapter: { name: "loro" } }, 'adapter.name: unknown method "loro"; did you mean lora'],
  [{ adapter: { name: "lora", rank: 4 } }, "adapter.rank: is no setting of lora"],
  [{ adapter: { name: "lora", lora_alfa: 4 } }, "adapter.lora_alfa: is no setting of lora; did you mean lora_alpha?"],
  [{ adapter: { name: "lora", r: "x" } }, "adapter: r: "],
  [{ adapter: { name: "lora", peft_type: "LOHA" } }, 'adapter.peft_type: lora is LORA, got "LOHA"'],
  [{ adapter: { peft_type: "LORE" } }, 'adapter.peft_type: unknown type "LORE"; did you mean LORA'],
  [{ adapter: { name: "lora", target_modules: ["nowhere"] } }, "adapter: "],
  [
    { adapter: { name: "prompt-tuning", tokenizer_name_or_path: "/etc" } },
    "adapter.tokenizer_name_or_path: a job's tokenizer is its base's",
  ],
  [
    {
      adapter: {
        name: "stack",
        adapters: [{ name: "a", config: { peft_type: "PROMPT_TUNING", tokenizer_name_or_path: "/etc" } }],
      },
    },
    "adapter.adapters.0.config.tokenizer_name_or_path: a job's tokenizer",
  ],
  [{ seed: -1 }, "job: seed"],
])("a wrong job is refused, the field named: %j", (request, ...says) => {
  const attempt = () => settle(request as JobRequest);
  expect(attempt).toThrow(ConfigError);
  for (const text of says) expect(attempt).toThrow(text);
});
