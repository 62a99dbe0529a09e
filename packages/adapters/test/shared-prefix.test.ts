/** Scores and tokens of sequences that begin alike, with an adapter of every kind: the floats of each are those it has alone. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { type AdapterConfig, baseOf, createAdapter, loadAdapter } from "../src/index.ts";
import { promptConfigs } from "./prompt-configs.ts";

const models = resolve(import.meta.dir, "../../../models");
const folder = mkdtempSync(join(tmpdir(), "shared-prefix-"));
let device: Device;
let tiny: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  tiny = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  tiny.destroy();
  await device.close();
  rmSync(folder, { recursive: true });
});

async function withGenerator<T>(
  model: BaseModel,
  options: { maxRows?: number; pageSize?: number },
  weights: readonly AdapterWeights[],
  use: (generator: Generator) => Promise<T>,
): Promise<T> {
  const generator = new Generator(model, { maxSequences: 8, ...options });
  try {
    return await use(generator);
  } finally {
    expect(generator.pagesInUse).toBe(0);
    for (const own of weights) await generator.forget(own);
    await generator.destroy();
  }
}

/** Eight questions with their four choices behind the same shots, and one sequence that is alone. */
function questions(vocabSize: number): number[][] {
  const random = new Random(17);
  const some = (count: number) => Array.from({ length: count }, () => 3 + random.int(vocabSize - 3));
  const shots = [1, ...some(36)];
  const choices = Array.from({ length: 8 }, () => {
    const question = [...shots, ...some(3 + random.int(12))];
    return Array.from({ length: 4 }, () => [...question, ...some(1 + random.int(5))]);
  });
  return [...choices.flat(), [1, ...some(11)]];
}

async function compareWithAlone(model: BaseModel, weights: AdapterWeights): Promise<void> {
  const sequences = questions(model.config.vocabSize);
  const from = sequences.map((ids, i) => (i % 5 === 0 ? 1 : ids.length - 1));
  const requests = sequences.map((promptIds, i) => ({
    promptIds,
    maxNewTokens: 2 + (i % 4),
    temperature: i % 2,
    seed: i,
    eosTokenIds: [],
    logprobs: true,
  }));
  const beams = requests.slice(0, 6).map((request) => ({ ...request, temperature: 0, numBeams: 3 }));
  const alone = await withGenerator(model, {}, [weights], async (generator) => {
    const scores = [];
    const made = [];
    for (const [i, ids] of sequences.entries())
      scores.push((await generator.score([ids], weights, { from: [from[i]!] }))[0]!);
    for (const request of [...requests, ...beams]) made.push((await generator.generate([request], weights))[0]!);
    return { scores, made };
  });
  for (const options of [{}, { maxRows: 11, pageSize: 4 }]) {
    await withGenerator(model, options, [weights], async (generator) => {
      expect(await generator.score(sequences, weights, { from })).toEqual(alone.scores);
      const backwards = await generator.score(sequences.toReversed(), weights, { from: from.toReversed() });
      expect(backwards.toReversed()).toEqual(alone.scores);
      expect(await generator.generate([...requests, ...beams], weights)).toEqual(alone.made);
    });
  }
}

/** Fresh values with noise on them. */
async function noisy(config: AdapterConfig, seed: number): Promise<AdapterWeights> {
  const { bound, values } = await createAdapter(config, baseOf(tiny), seed);
  const random = new Random(seed, 9);
  for (const [key, value] of values)
    values.set(
      key,
      value.map((x) => x + 0.15 * random.normal()),
    );
  return new AdapterWeights(device, bound, values, "test");
}

test.each([
  ...Object.entries(promptConfigs),
  ["lora on the output layer", { peft_type: "LORA", target_modules: ["lm_head", "q_proj"], r: 4 }],
  ["parallel", { peft_type: "BOTTLENECK", bottleneck_size: 8, use_parallel_adapter: true }],
] as const)(
  "%s",
  async (_, config) => {
    const weights = await noisy(config, 2);
    try {
      await compareWithAlone(tiny, weights);
    } finally {
      weights.destroy();
    }
  },
  120_000,
);

test("a trained LoRA on the micro LLaMA", async () => {
  const model = loadBaseModel(device, join(models, "graft-micro-llama"), { dtype: "auto" });
  const { bound, values } = loadAdapter(join(models, "graft-micro-llama-common"), baseOf(model));
  const weights = new AdapterWeights(device, bound, values, "test");
  try {
    await compareWithAlone(model, weights);
  } finally {
    weights.destroy();
    model.destroy();
  }
}, 120_000);

test("prompts that begin alike under different adapters share nothing", async () => {
  const adapters = [
    await noisy({ peft_type: "LORA", target_modules: "all-linear", r: 4 }, 3),
    await noisy(promptConfigs.prefix!, 4),
    await noisy(promptConfigs["prompt tuning"]!, 5),
    undefined,
  ];
  const weights = adapters.filter((one) => one !== undefined);
  const promptIds = questions(96)[0]!;
  const requests = [...adapters, ...adapters].map((adapter, i) => ({
    promptIds: i < 4 ? promptIds : [...promptIds, 9],
    maxNewTokens: 5,
    adapter,
    eosTokenIds: [],
    logprobs: true,
  }));
  try {
    await withGenerator(tiny, {}, weights, async (generator) => {
      const together = await generator.generate(requests, undefined);
      for (const [i, request] of requests.entries())
        expect(together[i]).toEqual((await generator.generate([request], undefined))[0]!);
      expect(new Set(together.slice(0, 4).map((own) => JSON.stringify(own))).size).toBe(4);
    });
  } finally {
    for (const own of weights) own.destroy();
  }
});
