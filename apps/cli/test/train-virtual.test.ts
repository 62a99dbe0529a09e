/** Training methods with virtual tokens, from files to files and from the command line. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type AdapterConfig, baseOf, loadAdapter } from "@graft/adapters";
import { UnknownName } from "@graft/core/errors";
import type { TrainRunOptions } from "@graft/adapters/train";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { adapterConfigOf, adapterOptions } from "../src/train/adapter-options.ts";
import { expectFailure, graft, mathRows, micro, succeed } from "./process.ts";
import { trainMicro, trainOptions } from "./training.ts";

const scratch = mkdtempSync(join(tmpdir(), "train-virtual-"));
const folder = (name: string) => join(scratch, name);
let device: Device;
let model: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, micro);
});
afterAll(async () => {
  model.destroy();
  await device.close();
  rmSync(scratch, { recursive: true });
});

const options = (name: string, config: AdapterConfig, changes: Partial<TrainRunOptions>) =>
  trainOptions(folder(name), config, changes);
const run = (o: TrainRunOptions, stopAfter?: number, notes?: string[]) => trainMicro(model, o, stopAfter, notes);
const bytes = (name: string) => readFileSync(join(folder(name), "adapter_model.safetensors"));

for (const [name, config] of Object.entries({
  lstm: {
    peft_type: "P_TUNING",
    num_virtual_tokens: 3,
    encoder_hidden_size: 6,
    encoder_dropout: 0.2,
    encoder_reparameterization_type: "LSTM",
  },
  prefix: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3, encoder_hidden_size: 6, prefix_projection: true },
})) {
  test(`${name}: stopped and resumed gives the bytes of never having stopped; what is saved for use is the table`, async () => {
    const train = (to: string, changes: Partial<TrainRunOptions> = {}) => options(to, config, changes);
    const straight = await run(train(name));
    const stopped = await run(train(`${name}-parts`), 3);
    const half = loadAdapter(join(folder(`${name}-parts`), "checkpoint-3"), baseOf(model));
    expect([...half.values.keys()]).toContain("prompt_encoder.embedding.weight");
    const resumed = await run(train(`${name}-parts`, { resumeFromCheckpoint: "true" }));
    expect([...stopped.losses, ...resumed.losses]).toEqual([...straight.losses]);
    expect(bytes(`${name}-parts`).equals(bytes(name))).toBe(true);
    expect([...loadAdapter(folder(name), baseOf(model)).values.keys()]).toEqual(["prompt_embeddings"]);
    expect(device.liveBuffers).toBe(model.weights.size);
  });
}

test("every method with virtual tokens learns", async () => {
  for (const [config, learningRate] of [
    [{ peft_type: "PREFIX_TUNING" }, 0.3],
    [{ peft_type: "P_TUNING" }, 0.03],
    [{ peft_type: "PROMPT_TUNING", prompt_tuning_init: "SAMPLE_VOCAB" }, 0.3],
  ] as const) {
    const changes = { maxSteps: 30, epochs: 10, maxRows: 200, batchSize: 8, microBatchSize: 8, valSetSize: 0 };
    const rest = { learningRate, schedule: "constant", saveSteps: 0, evalSteps: 0 };
    const name = `learns ${config.peft_type}`;
    const { losses } = await run(options(name, { ...config, num_virtual_tokens: 6 }, { ...changes, ...rest }));
    const mean = (part: readonly number[]) => part.reduce((a, b) => a + b, 0) / part.length;
    expect(mean(losses.slice(-5))).toBeLessThan(0.85 * mean(losses.slice(0, 3)));
  }
});

test("examples keep their length beside virtual tokens, packed too, up to what the model holds", async () => {
  const config = { peft_type: "PROMPT_TUNING", num_virtual_tokens: 40 };
  const packed = await run(options("packed", config, { packing: true, maxSteps: 2 }));
  expect(packed.losses.every(Number.isFinite)).toBe(true);
  const notes: string[] = [];
  const cutoffLen = model.config.maxLength;
  await run(options("long", config, { cutoffLen, maxSteps: 1 }), undefined, notes);
  expect(notes).toContain(
    `cutoff_len ${cutoffLen} is longer than the model beside 40 virtual tokens; ${cutoffLen - 40} is used`,
  );
});

test("flags become the fields of the method that is asked for, over the defaults of LLM-Adapters and PEFT", () => {
  const schema = z.object(adapterOptions);
  const configOf = (flags: object) => adapterConfigOf(schema.parse(flags), "base/folder");
  const common = { task_type: "CAUSAL_LM", inference_mode: true };
  expect(configOf({})).toEqual({
    config: {
      ...common,
      ...{ peft_type: "LORA", r: 8, lora_alpha: 16, lora_dropout: 0.05, bias: "none", fan_in_fan_out: false },
      ...{ use_rslora: false, use_dora: false, init_lora_weights: true },
    },
    unused: [],
  });
  const { config, unused } = configOf({
    ...{ loraR: 4, initLoraWeights: "False", loraTargetModules: ["all-linear"], numVirtualTokens: 5, scaling: "2" },
  });
  expect(config).toMatchObject({ r: 4, init_lora_weights: false, target_modules: "all-linear" });
  expect(unused).toEqual(["--scaling", "--num-virtual-tokens"]);
  expect(configOf({ adapterName: "prefix-tuning", loraR: 4 })).toEqual({
    config: { ...common, peft_type: "PREFIX_TUNING", num_virtual_tokens: 30, prefix_projection: false },
    unused: ["--lora-r"],
  });
  const text = { adapterName: "prompt-tuning", promptTuningInit: "TEXT", promptTuningInitText: "true" };
  expect(configOf(text).config).toMatchObject({
    prompt_tuning_init_text: "true",
    tokenizer_name_or_path: "base/folder",
  });
});

test("from the command line: train, score, and a reason why it cannot be merged", async () => {
  const out = folder("cli");
  const common = ["--base_model", micro, "--data_path", mathRows, "--output_dir", out, "--prompt_template", "micro"];
  const size = [
    "--max_rows",
    "16",
    "--val_set_size",
    "0",
    "--batch_size",
    "4",
    "--cutoff_len",
    "48",
    "--num_epochs",
    "1",
  ];
  const { err } = await succeed(
    ...["train", ...common, ...size, "--adapter_name", "prefix-tuning", "--num_virtual_tokens", "4", "--lora_r", "4"],
  );
  expect(err).toContain("--lora-r is no option of prefix-tuning and is not used");
  expect(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8"))).toMatchObject({
    peft_type: "PREFIX_TUNING",
    num_virtual_tokens: 4,
    num_layers: model.config.layers,
    token_dim: model.config.kvHeads * model.config.headDim,
  });
  const texts = folder("texts.json");
  writeFileSync(texts, JSON.stringify([{ ids: [1, 5, 9, 40] }]));
  const scored = await succeed("score", "--model", micro, "--adapter", out, "--file", texts, "--json");
  const [item] = (JSON.parse(scored.out) as { items: { ids: number[]; logprobs: number[] }[] }).items;
  expect([item!.ids.length, item!.logprobs.length]).toEqual([4, 3]);
  const merge = await graft("merge", "--model", micro, "--adapter", out, "--output-dir", folder("merged"));
  expectFailure(merge, 1, "prefix-tuning cannot be merged: virtual tokens change no weight");
});

test("a number of virtual tokens that the base has no room for is an error before anything is read or written", async () => {
  const config = { peft_type: "PREFIX_TUNING", num_virtual_tokens: model.config.maxLength };
  await expect(run(options("full", config, {}))).rejects.toThrow("leaves no room for text");
  await expect(run(options("full", { peft_type: "PREFIX" }, {}))).rejects.toThrow(UnknownName);
});
