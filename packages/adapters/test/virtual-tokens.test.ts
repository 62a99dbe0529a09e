/** Virtual tokens of every method that has them: generation, scoring, training and the engine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { collate } from "@graft/core/data";
import { createEngine, type EngineEvent } from "@graft/core/engine";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import { adamwDefaults, toMicro, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { promptConfigs as configs } from "./prompt-configs.ts";
import {
  type AdapterConfig,
  adapterLoader,
  baseOf,
  createAdapter,
  type LoadedAdapter,
  saveAdapter,
} from "../src/index.ts";

const micro = resolve(import.meta.dir, "../../../models/graft-micro-llama");
const folder = mkdtempSync(join(tmpdir(), "prompt-learning-"));
let device: Device;
let model: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
  rmSync(folder, { recursive: true });
});

const prefix = configs.prefix!;
const fresh = (config: AdapterConfig): Promise<LoadedAdapter> => createAdapter(config, baseOf(model), 5);

async function withWeights<T>(adapter: LoadedAdapter, use: (weights: AdapterWeights) => Promise<T>): Promise<T> {
  const weights = new AdapterWeights(device, adapter.bound, adapter.values, "adapter");
  try {
    return await use(weights);
  } finally {
    weights.destroy();
  }
}

async function withGenerator<T>(use: (generator: Generator) => Promise<T>, options = {}): Promise<T> {
  const generator = new Generator(model, { maxSequences: 8, pageSize: 4, ...options });
  try {
    return await use(generator);
  } finally {
    expect(generator.pagesInUse).toBe(0);
    await generator.destroy();
  }
}

const prompts = [[1, 7, 30], [1, 5, 6, 7, 8, 9, 10, 11, 12, 60, 61], [1], [1, 90, 3, 44, 5]];

function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!)).toBeLessThan(tolerance);
}

for (const [name, config] of Object.entries(configs)) {
  describe(name, () => {
    test("a batch gives each prompt what it gets alone, and none the base's", async () => {
      const adapter = await fresh(config);
      const requests = prompts.map((promptIds, i) => ({
        promptIds,
        maxNewTokens: 9,
        temperature: i % 2,
        repetitionPenalty: 1 + (i % 3),
        seed: i,
        eosTokenIds: [],
        logprobs: true,
      }));
      await withWeights(adapter, (weights) =>
        withGenerator(async (generator) => {
          const together = await generator.generate(requests, weights);
          const ofBase = await generator.generate(requests, undefined);
          for (const [i, request] of requests.entries()) {
            expect(together[i]).toEqual((await generator.generate([request], weights))[0]!);
            expect(together[i]![0]!.ids.every((id) => id >= 0)).toBe(true);
            expect(together[i]![0]!.logprobs).not.toEqual(ofBase[i]![0]!.logprobs!);
          }
          await generator.forget(weights);
        }),
      );
    });

    test("chunks of two rows compute what one pass does: generation, beams, scores", async () => {
      const run = (weights: AdapterWeights, maxRows: number) =>
        withGenerator(
          async (generator) => {
            const [promptIds] = prompts.toSorted((a, b) => b.length - a.length);
            const request = { promptIds: promptIds!, maxNewTokens: 5, eosTokenIds: [] };
            return {
              greedy: await generator.generate([request], weights),
              beams: await generator.generate([{ ...request, numBeams: 2, noRepeatNgramSize: 2 }], weights),
              scores: await generator.score([promptIds!], weights),
              logits: (await generator.nextLogits(promptIds!, weights)).slice(),
            };
          },
          { maxRows },
        );
      await withWeights(await fresh(config), async (weights) => {
        expect(await run(weights, 2)).toEqual(await run(weights, 64));
      });
    });

    test("a score is the log-probability that generation reports, and has nothing of virtual tokens", async () => {
      await withWeights(await fresh(config), (weights) =>
        withGenerator(async (generator) => {
          const promptIds = prompts[1]!;
          const request = { promptIds, maxNewTokens: 4, eosTokenIds: [], logprobs: true };
          const generated = (await generator.generate([request], weights))[0]![0]!;
          const whole = [...promptIds, ...generated.ids];
          const [all] = await generator.score([whole], weights);
          expect(all!.logprobs.length).toBe(whole.length - 1);
          expectClose(all!.logprobs.slice(promptIds.length - 1), generated.logprobs!, 1e-4);
          const [tail] = await generator.score([whole], weights, { from: [promptIds.length] });
          expect(tail!.logprobs).toEqual(all!.logprobs.slice(promptIds.length - 1));
        }),
      );
    });

    test("packed, padded and single examples have the same loss and gradients", async () => {
      const examples = [
        [1, 9, 30, 2],
        [1, 5, 6, 7, 8, 2],
        [1, 3, 2],
      ].map((ids) => ({
        ids: Int32Array.from(ids),
        labels: Int32Array.from(ids),
      }));
      const layouts = {
        single: examples.map((example) => [[example]]),
        padded: [examples.map((example) => [example])],
        packed: [[examples.slice(0, 2), examples.slice(2)]],
      };
      await withWeights(await fresh(config), async (weights) => {
        const results = [];
        for (const batches of Object.values(layouts)) {
          const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
          let loss = 0;
          for (const [i, rows] of batches.entries()) {
            const batch = toMicro(collate(rows, { virtualTokens: weights.adapter.virtualTokens! }));
            loss += await step.micro(batch, { lossScale: 0.1, isFirst: i === 0, seed: 0, step: 0 });
          }
          results.push({ loss, gradients: await step.gradients() });
          step.destroy();
        }
        const [single, ...others] = results;
        for (const { loss, gradients } of others) {
          expect(loss).toBeCloseTo(single!.loss, 4);
          for (const [key, want] of single!.gradients) expectClose(gradients.get(key)!, want, 1e-4);
        }
        for (const gradient of single!.gradients.values()) expect(gradient.some((x) => x !== 0)).toBe(true);
      });
    });

    test("recomputing layers gives the same gradients", async () => {
      const ids = Int32Array.of(1, 9, 30, 44, 2);
      await withWeights(await fresh(config), async (weights) => {
        const batch = toMicro(collate([[{ ids, labels: ids }]], { virtualTokens: 3 }));
        const gradients = [];
        for (const gradientCheckpointing of [false, true]) {
          const step = new TrainStep(model, weights, {
            optimizer: adamwDefaults,
            maxGradNorm: 0,
            gradientCheckpointing,
          });
          await step.micro(batch, { lossScale: 1, isFirst: true, seed: 0, step: 0 });
          gradients.push(await step.gradients());
          step.destroy();
        }
        expect(gradients[1]).toEqual(gradients[0]!);
      });
    });
  });
}

test("a prompt that only fits without the virtual tokens", async () => {
  await withWeights(await fresh(prefix), (weights) =>
    withGenerator(async (generator) => {
      const promptIds = Array.from({ length: 120 }, () => 1);
      const request = { promptIds, maxNewTokens: 6, eosTokenIds: [] };
      await expect(generator.generate([request], weights)).rejects.toThrow(
        "prompt 0 has 120 tokens, the adapter puts 3 before them and asks for 6 more; the model holds 128",
      );
      const [fitting] = await generator.generate([{ ...request, maxNewTokens: 5 }], weights);
      expect(fitting![0]!.ids.length).toBe(5);
    }),
  );
});

test("the engine serves a prefix, a prompt, a LoRA and the base at once, each as if alone", async () => {
  const base = baseOf(model);
  const path = (name: string) => join(folder, "served", name);
  await saveAdapter(path("prefix"), await fresh(prefix), base);
  await saveAdapter(path("prompt"), await fresh(configs["prompt tuning"]!), base);
  const lora = await fresh({ peft_type: "LORA", r: 4, target_modules: ["q_proj", "v_proj"], init_lora_weights: false });
  await saveAdapter(path("lora"), lora, base);
  const engine = createEngine({
    model,
    tokenizer: loadTokenizer(micro),
    pageSize: 4,
    maxRows: 5,
    adapters: adapterLoader(model, base),
  });
  const collect = async (adapter: string | undefined, promptIds: readonly number[]): Promise<EngineEvent[]> => {
    const request = { requestId: "r", promptIds, maxNewTokens: 6, eosTokenIds: [], logprobs: 0, promptLogprobs: true };
    const events: EngineEvent[] = [];
    for await (const event of engine.generate(adapter === undefined ? request : { ...request, adapter }))
      events.push(event);
    return events;
  };
  try {
    const names = ["prefix", "prompt", "lora"];
    for (const name of names) await engine.loadAdapter(name, path(name));
    const jobs = [...names, undefined].flatMap((name) => prompts.map((promptIds) => ({ name, promptIds })));
    const together = await Promise.all(jobs.map(({ name, promptIds }) => collect(name, promptIds)));
    for (const [i, { name, promptIds }] of jobs.entries()) {
      const alone = await collect(name, promptIds);
      expect(together[i]).toEqual(alone);
      const [first] = alone;
      // One for each token of the prompt; nothing of virtual tokens.
      expect(first?.type === "prompt" && first.logprobs.length).toBe(promptIds.length);
      expect(alone.filter((event) => event.type === "token").length).toBe(6);
    }
    const tokens = (events: readonly EngineEvent[]) => JSON.stringify(events.filter((e) => e.type !== "finish"));
    expect(
      new Set(jobs.flatMap(({ promptIds }, i) => (promptIds === prompts[1] ? [tokens(together[i]!)] : []))).size,
    ).toBe(4);
    const long = Array.from({ length: 120 }, () => 1);
    await expect(collect("prefix", long)).rejects.toThrow("the adapter puts 3 before them");
    expect((await collect(undefined, long)).at(-1)).toMatchObject({ type: "finish", reason: "length" });
    await engine.unloadAdapter("prefix");
    expect((await engine.stats()).kvPagesUsed).toBe(0);
  } finally {
    await engine.close();
  }
});
