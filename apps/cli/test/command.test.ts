import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { canonicalArguments, defineCommand, fieldsOf, parseOptions, UsageError } from "../src/command.ts";
import train from "../src/commands/train.ts";

const command = defineCommand({
  name: "example",
  summary: "",
  examples: [],
  options: z.object({
    baseModel: z.string(),
    trainOnInputs: z.boolean().default(true),
    targetModules: z.array(z.string()).optional(),
    learningRate: z.number().default(0.1),
  }),
  run: () => Promise.resolve(0),
});
const parse = (...args: string[]) => parseOptions(command, args);

test("underscores, dashes and equals signs say the same", async () => {
  const want = { options: { baseModel: "x", trainOnInputs: true, learningRate: 0.1 }, positionals: [] };
  expect(await parse("--base_model", "x")).toEqual(want);
  expect(await parse("--base-model=x")).toEqual(want);
});

test("booleans read as python-fire writes them", () => {
  const fields = fieldsOf(command.options);
  for (const args of [["--train_on_inputs", "False"], ["--train-on-inputs=false"], ["--no-train-on-inputs"]]) {
    expect(canonicalArguments(args, fields)).toEqual(["--train-on-inputs=false"]);
  }
  expect(canonicalArguments(["--train-on-inputs", "path"], fields)).toEqual(["--train-on-inputs=true", "path"]);
  expect(() => canonicalArguments(["--train-on-inputs=maybe"], fields)).toThrow(UsageError);
});

test("lists are JSON, Python literals, words between commas, or the flag again", async () => {
  for (const args of [
    ["--target_modules", '["q_proj", "v_proj"]'],
    ["--target_modules", "['q_proj', 'v_proj']"],
    ["--target-modules", "q_proj,v_proj"],
    ["--target-modules", "q_proj", "--target-modules", "v_proj"],
  ]) {
    expect(await parse("--base-model", "x", ...args)).toMatchObject({
      options: { targetModules: ["q_proj", "v_proj"] },
    });
  }
});

test("mistakes name the flag", async () => {
  await expect(parse("--base-model", "x", "--learning-rate", "fast")).rejects.toThrow(
    '--learning-rate is a number, not "fast"',
  );
  await expect(parse("--base-modle", "x")).rejects.toThrow("unknown option --base-modle; did you mean --base-model?");
  await expect(parse()).rejects.toThrow("--base-model is required");
  await expect(parse("--base-model", "x", "--learning-rate", "")).rejects.toThrow("--learning-rate is a number");
  const ruled = defineCommand({
    name: "ruled",
    summary: "",
    examples: [],
    run: () => Promise.resolve(0),
    options: z.object({ a: z.number().default(1) }).refine(({ a }) => a > 0, "a must be above zero"),
  });
  await expect(parseOptions(ruled, ["--a", "-1"])).rejects.toThrow(/^a must be above zero$/);
});

test("None leaves an option out, as python-fire reads it", async () => {
  expect(await parse("--base-model", "x", "--target-modules", "None")).toEqual({
    options: { baseModel: "x", trainOnInputs: true, learningRate: 0.1 },
    positionals: [],
  });
  await expect(parse("--base-model", "x", "--learning-rate", "None")).rejects.toThrow("--learning-rate is a number");
});

test("a config file gives the same options and the command line wins", async () => {
  const path = join(mkdtempSync(join(tmpdir(), "config-")), "run.yaml");
  writeFileSync(path, "base_model: from-file\nlearning_rate: 0.5\n");
  expect(await parse("--config", path, "--learning-rate", "0.25")).toMatchObject({
    options: { baseModel: "from-file", learningRate: 0.25 },
  });
  writeFileSync(path, "base_modle: x\n");
  await expect(parse("--config", path)).rejects.toThrow("unknown option base_modle; did you mean --base-model?");
});

test("the paper's command line is understood as it is", async () => {
  const line = `--base_model yahma/llama-7b-hf --data_path math_10k.json --output_dir ./trained_models/llama-7b-lora-math/ --batch_size 16 --micro_batch_size 4 --num_epochs 3 --learning_rate 3e-4 --cutoff_len 256 --val_set_size 120 --eval_step 80 --save_step 80 --adapter_name lora --target_modules ["q_proj","k_proj","v_proj","up_proj","down_proj"] --lora_r 32 --lora_alpha 64 --use_gradient_checkpointing --train_on_inputs False --group_by_length`;
  expect(await parseOptions(train, line.split(" "))).toMatchObject({
    options: {
      baseModel: "yahma/llama-7b-hf",
      batchSize: 16,
      learningRate: 3e-4,
      loraR: 32,
      targetModules: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
      useGradientCheckpointing: true,
      trainOnInputs: false,
      groupByLength: true,
    },
  });
  await expect(
    parseOptions(train, ["--base-model", "x", "--data-path", "x", "--output-dir", "x", "--lora-r", "0"]),
  ).rejects.toThrow("--lora-r: must be at least 1");
});
