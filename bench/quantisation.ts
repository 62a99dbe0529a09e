/**
 * What quantisation costs and gives: `bun bench/quantisation.ts [--model DIR] [--texts FILE] [--rounds N] [--json]`.
 * Quality: mean loss per token of texts under each storage of the linear layers, with the difference from f32 of the same tokens. Speed: tokens per second of greedy
 * generation (one sequence, and eight) and of a LoRA step, storages in turn, medians; of the model, and of one of random weights that is large enough for its products to matter.
 * FILE: a JSON list of texts, or reference values with {"loss": [{"text"}]}; without it stories that the embedded model's generator writes and has not trained on.
 */
import { baseOf, createAdapter } from "../packages/adapters/src/index.ts";
import { Generator } from "../packages/core/src/generate/index.ts";
import { type TensorData, writeSafetensors } from "../packages/core/src/io/index.ts";
import { type BaseModel, loadBaseModel, modelFor } from "../packages/core/src/models/index.ts";
import { AdapterWeights } from "../packages/core/src/nn/index.ts";
import { Random } from "../packages/core/src/random/index.ts";
import { loadTokenizer } from "../packages/core/src/text/index.ts";
import { adamwDefaults, TrainStep } from "../packages/core/src/train/index.ts";
import { type Device, openDevice } from "../packages/kernels/src/index.ts";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { stories } from "../scripts/micro/corpus.ts";

const NEW_TOKENS = 48;
const { values: args } = parseArgs({
  options: {
    model: { type: "string", default: new URL("../models/graft-micro-llama", import.meta.url).pathname },
    texts: { type: "string" },
    rounds: { type: "string", default: "5" },
    json: { type: "boolean", default: false },
  },
});

const storages = {
  f32: { dtype: "f32" },
  f16: { dtype: "f16" },
  int8: { dtype: "f16", quantization: { method: "int8", skipModules: [] } },
  nf4: { dtype: "f16", quantization: { method: "nf4", skipModules: [] } },
} as const;

/** Hidden 1024, 2 layers, ffn 2816, vocabulary 512: 26 million weights in linear layers. */
function writeRandomModel(): string {
  const folder = mkdtempSync(join(tmpdir(), "quantisation-"));
  const config = {
    model_type: "llama",
    vocab_size: 512,
    hidden_size: 1024,
    intermediate_size: 2816,
    num_hidden_layers: 2,
    num_attention_heads: 16,
    max_position_embeddings: 256,
  };
  const definition = modelFor("llama", "bench");
  const random = new Random(1);
  const tensors = new Map<string, TensorData>();
  for (const { name, shape } of definition.parameters(definition.parseConfig(config, "bench"))) {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: count }, () =>
      shape.length === 1 ? 1 : 0.06 * (random.uniform() - 0.5),
    );
    tensors.set(name, { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) });
  }
  writeSafetensors(join(folder, "model.safetensors"), tensors);
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}

/** Bytes of the weights: of linear layers but the output layer, and of all. */
function weightBytes(model: BaseModel): { readonly linear: number; readonly all: number } {
  const tensors = [...model.weights];
  const sum = (list: typeof tensors) => list.reduce((bytes, [, { buffer }]) => bytes + buffer.size, 0);
  return { linear: sum(tensors.filter(([name]) => /proj/.test(name))), all: sum(tensors) };
}

async function losses(model: BaseModel, sequences: readonly (readonly number[])[]): Promise<number[]> {
  const generator = new Generator(model, { maxSequences: 8 });
  const scored = await generator.score(sequences, undefined);
  await generator.destroy();
  return scored.flatMap(({ logprobs }) => logprobs.map((x) => -x));
}

async function quality(device: Device, sequences: readonly (readonly number[])[]): Promise<object[]> {
  const rows = [];
  let plain: number[] | undefined;
  for (const [storage, options] of Object.entries(storages)) {
    const model = loadBaseModel(device, args.model, options);
    const nats = await losses(model, sequences);
    plain ??= nats;
    const mean = (f: (i: number) => number) => nats.reduce((sum, _, i) => sum + f(i), 0) / nats.length;
    const loss = mean((i) => nats[i]!);
    rows.push({
      storage,
      loss,
      perplexity: Math.exp(loss),
      lossChange: loss - mean((i) => plain![i]!),
      meanTokenChange: mean((i) => Math.abs(nats[i]! - plain![i]!)),
      bytes: weightBytes(model),
      tokens: nats.length,
    });
    model.destroy();
  }
  return rows;
}

interface Contender {
  readonly run: () => Promise<number>;
  readonly close: () => Promise<void>;
}

/** Tokens per second of generation, `sequences` at a time. */
function generation(model: BaseModel, sequences: number): Contender {
  const generator = new Generator(model, { maxSequences: sequences });
  const requests = Array.from({ length: sequences }, (_, i) => ({
    promptIds: [1, 5 + i, 9],
    maxNewTokens: NEW_TOKENS,
    eosTokenIds: [],
  }));
  return {
    async run() {
      const begun = performance.now();
      await generator.generate(requests, undefined);
      return (1000 * sequences * NEW_TOKENS) / (performance.now() - begun);
    },
    close: () => generator.destroy(),
  };
}

/** Tokens per second of a LoRA step: r 8 on all linear layers, batch 4 x 64. */
async function loraStep(model: BaseModel): Promise<Contender> {
  const adapter = await createAdapter({ peft_type: "LORA", r: 8, target_modules: "all-linear" }, baseOf(model), 1);
  const weights = new AdapterWeights(model.device, adapter.bound, adapter.values, "bench");
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  const [batch, length] = [4, 64];
  const ids = Int32Array.from({ length: batch * length }, (_, i) => 3 + ((i * 7) % 500));
  const segments = new Int32Array(ids.length).fill(1);
  const micro = { batch, length, ids, labels: ids, positions: ids.map((_, i) => i % length), segments };
  let n = 0;
  return {
    async run() {
      const begun = performance.now();
      await step.micro(micro, { lossScale: 1 / ids.length, isFirst: true, seed: 1, step: ++n });
      await step.update(1e-4, n);
      return (1000 * ids.length) / (performance.now() - begun);
    },
    async close() {
      step.destroy();
      weights.destroy();
    },
  };
}

async function speed(device: Device, folder: string, rounds: number): Promise<object[]> {
  const models = Object.entries(storages).map(
    ([storage, options]) => [storage, loadBaseModel(device, folder, options)] as const,
  );
  const rows: Record<string, unknown>[] = models.map(([storage, model]) => ({ storage, bytes: weightBytes(model) }));
  for (const [name, make] of [
    ["generateOne", (model: BaseModel) => generation(model, 1)],
    ["generateEight", (model: BaseModel) => generation(model, 8)],
    ["loraStep", loraStep],
  ] as const) {
    const contenders: Contender[] = [];
    for (const [, model] of models) contenders.push(await make(model));
    const rates: number[][] = contenders.map(() => []);
    for (let round = -1; round < rounds; round++) {
      for (const [i, { run }] of contenders.entries()) {
        const rate = await run();
        if (round >= 0) rates[i]!.push(rate); // the first round compiles
      }
    }
    for (const [i, list] of rates.entries()) rows[i]![name] = list.toSorted((a, b) => a - b)[list.length >> 1]!;
    for (const { close } of contenders) await close();
  }
  for (const [, model] of models) model.destroy();
  return rows;
}

function texts(): readonly string[] {
  if (args.texts === undefined) return [...stories(new Random(20_260), 120)];
  const json = JSON.parse(readFileSync(args.texts, "utf8")) as
    | readonly string[]
    | { loss: readonly { text: string }[] };
  return "loss" in json ? json.loss.map(({ text }) => text) : json;
}

const device = await openDevice();
const tokenizer = loadTokenizer(args.model);
const sequences = texts().map((text) => tokenizer.encode(text, { addSpecialTokens: true }));
const random = writeRandomModel();
const rounds = Number(args.rounds);
const result = {
  device: device.info.description || device.info.device,
  date: new Date().toISOString(),
  model: args.model,
  quality: await quality(device, sequences),
  speed: await speed(device, args.model, rounds),
  speedOfRandomModel: await speed(device, random, rounds),
};
rmSync(random, { recursive: true });
if (args.json) console.log(JSON.stringify(result, null, 2));
else for (const part of ["quality", "speed", "speedOfRandomModel"] as const) console.table(result[part]);
await device.close();
process.exit();
