/** Prefix tuning, p-tuning and prompt tuning: files, encoders, and virtual tokens through training, generation, scoring and the engine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { collate } from "@graft/core/data";
import { createEngine, type EngineEvent } from "@graft/core/engine";
import { Generator } from "@graft/core/generate";
import { openSafetensors } from "@graft/core/io";
import { type BaseModel, loadBaseModel, readWeight } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import { adamwDefaults, toMicro, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import {
  type AdapterConfig,
  adapterVersion,
  baseOf,
  createAdapter,
  finishAdapter,
  loadAdapter,
  type LoadedAdapter,
  mergeAdapter,
  saveAdapter,
  writeAdapterFiles,
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

/** The tiny model has 2 layers, 4 heads of 8, 2 of them for keys and values. */
const configs: Readonly<Record<string, AdapterConfig>> = {
  prefix: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 },
  "projected prefix": {
    peft_type: "PREFIX_TUNING",
    num_virtual_tokens: 3,
    prefix_projection: true,
    encoder_hidden_size: 5,
  },
  "p-tuning, MLP": { peft_type: "P_TUNING", num_virtual_tokens: 3, encoder_hidden_size: 5 },
  "p-tuning, LSTM": {
    peft_type: "P_TUNING",
    num_virtual_tokens: 3,
    encoder_hidden_size: 5,
    encoder_reparameterization_type: "LSTM",
  },
  "prompt tuning": { peft_type: "PROMPT_TUNING", num_virtual_tokens: 3 },
};
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

    test("a checkpoint keeps what is trained, the file for use has the table alone and does the same", async () => {
      const base = baseOf(model);
      const adapter = await fresh(config);
      const checkpoint = join(folder, `${name} checkpoint`);
      mkdirSync(checkpoint);
      await writeAdapterFiles(checkpoint, adapter, base);
      const resumed = loadAdapter(checkpoint, base);
      expect(resumed.values).toEqual(adapter.values);
      expect(resumed.bound.parameters).toEqual(adapter.bound.parameters);

      const [first, second] = [join(folder, `${name} 1`), join(folder, `${name} 2`)];
      await saveAdapter(first, adapter, base);
      const loaded = loadAdapter(first, base);
      expect([...loaded.values.keys()]).toEqual(["prompt_embeddings"]);
      await saveAdapter(second, loaded, base);
      for (const file of ["adapter_config.json", "adapter_model.safetensors"])
        expect(readFileSync(join(second, file))).toEqual(readFileSync(join(first, file)));
      // Finishing twice changes nothing.
      expect(finishAdapter(loaded, base)).toBe(loaded);

      const logits = (of: LoadedAdapter) =>
        withWeights(of, (weights) =>
          withGenerator(async (generator) => (await generator.nextLogits(prompts[1]!, weights)).slice()),
        );
      expectClose(await logits(loaded), await logits(adapter), 1e-4);
    });
  });
}

test("a new config gets what PEFT writes of the base: for a prefix, the sizes of the key-value heads", async () => {
  const common = { num_layers: 2, num_transformer_submodules: 1, auto_mapping: null, num_virtual_tokens: 3 };
  const kv = { ...common, token_dim: 16, num_attention_heads: 2, encoder_hidden_size: 16 };
  expect((await fresh(prefix)).config).toEqual({ ...prefix, ...kv });
  const embeddings = { ...common, token_dim: 32, num_attention_heads: 4 };
  expect((await fresh(configs["prompt tuning"]!)).config).toEqual({ peft_type: "PROMPT_TUNING", ...embeddings });
  const own = { ...configs["p-tuning, MLP"]!, ...embeddings, encoder_hidden_size: 5 };
  expect((await fresh({ ...configs["p-tuning, MLP"]!, token_dim: null })).config).toEqual(own);
});

test("shapes are those of PEFT, whatever the encoder", async () => {
  const shapes = async (config: AdapterConfig) =>
    Object.fromEntries((await fresh(config)).bound.parameters.map(({ key, shape }) => [key, [...shape]]));
  expect(await shapes(prefix)).toEqual({ prompt_embeddings: [3, 2 * 2 * 16] });
  expect(await shapes(configs["projected prefix"]!)).toEqual({
    "prompt_encoder.embedding.weight": [3, 16],
    "prompt_encoder.transform.0.weight": [5, 16],
    "prompt_encoder.transform.0.bias": [5],
    "prompt_encoder.transform.2.weight": [64, 5],
    "prompt_encoder.transform.2.bias": [64],
  });
  expect(await shapes(configs["p-tuning, LSTM"]!)).toMatchObject({
    "prompt_encoder.lstm_head.weight_ih_l0": [20, 32],
    "prompt_encoder.lstm_head.weight_hh_l1_reverse": [20, 5],
    "prompt_encoder.lstm_head.weight_ih_l1": [20, 10],
    "prompt_encoder.mlp_head.0.weight": [10, 10],
    "prompt_encoder.mlp_head.2.weight": [32, 10],
  });
});

test("a prefix that starts at zero has keys and values of zero, with and without projection", async () => {
  for (const name of ["prefix", "projected prefix"]) {
    const { values } = finishAdapter(await fresh({ ...configs[name]!, init_weights: "zero" }), baseOf(model));
    expect(values.get("prompt_embeddings")!.every((x) => x === 0)).toBe(true);
  }
});

describe("prompt tuning starts", () => {
  const start = async (changes: object, base: BaseModel) => {
    const config = { peft_type: "PROMPT_TUNING", num_virtual_tokens: 7, ...changes };
    return (await createAdapter(config, baseOf(base), 3)).values.get("prompt_embeddings")!;
  };

  test("as the embeddings of a text, cut or repeated", async () => {
    const base = loadBaseModel(device, micro);
    try {
      const ids = loadTokenizer(micro).encode("Tom has two apples and Ann has three pears.", {
        addSpecialTokens: true,
      });
      const table = await readWeight(base, "model.embed_tokens.weight");
      const { hiddenSize } = base.config;
      const text = { prompt_tuning_init: "TEXT", tokenizer_name_or_path: micro };
      for (const [n, words] of [
        [7, "Tom has two apples and Ann has three pears."],
        [2 * ids.length + 1, "Tom has two apples and Ann has three pears."],
      ] as const) {
        const got = await start({ ...text, num_virtual_tokens: n, prompt_tuning_init_text: words }, base);
        for (let v = 0; v < n; v++) {
          const id = ids[v % ids.length]!;
          expect(got.slice(v * hiddenSize, (v + 1) * hiddenSize)).toEqual(
            table.slice(id * hiddenSize, (id + 1) * hiddenSize),
          );
        }
      }
      await expect(start({ prompt_tuning_init: "TEXT", prompt_tuning_init_text: "x" }, base)).rejects.toThrow(
        "adapter config: prompt_tuning_init TEXT needs prompt_tuning_init_text and tokenizer_name_or_path",
      );
      const nowhere = { ...text, prompt_tuning_init_text: "x", tokenizer_name_or_path: "hub/name" };
      await expect(start(nowhere, base)).rejects.toThrow("tokenizer_name_or_path hub/name is no folder here");
    } finally {
      base.destroy();
    }
    await expect(
      start({ prompt_tuning_init: "TEXT", tokenizer_name_or_path: micro, prompt_tuning_init_text: "zebra zoo" }, model),
    ).rejects.toThrow(/prompt_tuning_init_text has the token \d+, the base's vocabulary 96/);
  });

  test("as rows of the vocabulary, the seed's", async () => {
    const table = await readWeight(model, "model.embed_tokens.weight");
    const rows = Array.from({ length: 96 }, (_, id) => `${table.slice(id * 32, (id + 1) * 32)}`);
    const got = await start({ prompt_tuning_init: "SAMPLE_VOCAB" }, model);
    for (let v = 0; v < 7; v++) expect(rows).toContain(`${got.slice(v * 32, (v + 1) * 32)}`);
    expect(await start({ prompt_tuning_init: "SAMPLE_VOCAB" }, model)).toEqual(got);
  });
});

describe("refused", () => {
  const cases: readonly (readonly [string, object, string])[] = [
    ["no virtual tokens", { num_virtual_tokens: 0 }, "adapter config: num_virtual_tokens: must be a positive integer"],
    ["none named", { num_virtual_tokens: undefined }, "adapter config: num_virtual_tokens: must be a positive integer"],
    ["a prefix as long as the context", { num_virtual_tokens: 128 }, "num_virtual_tokens 128 leaves no room for text"],
    ["heads of another size", { token_dim: 32 }, "token_dim is 32, this llama needs 16; is the adapter for another"],
    ["other layers", { num_layers: 3 }, "num_layers is 3, this llama needs 2"],
    ["other heads", { num_attention_heads: 4 }, "num_attention_heads is 4, this llama needs 2"],
    ["an encoder-decoder's", { num_transformer_submodules: 2 }, "num_transformer_submodules is 2, this llama needs 1"],
    ["modules_to_save", { modules_to_save: ["lm_head"] }, "modules_to_save is not supported together with virtual"],
  ];
  for (const [name, changes, message] of cases) {
    test(name, () => expect(fresh({ ...prefix, ...changes })).rejects.toThrow(message));
  }

  test("a file whose table has another shape, or is not there", async () => {
    const base = baseOf(model);
    const path = join(folder, "refused");
    await saveAdapter(path, await fresh(prefix), base);
    const config = join(path, "adapter_config.json");
    const text = readFileSync(config, "utf8");
    writeFileSync(config, text.replace('"num_virtual_tokens": 3', '"num_virtual_tokens": 4'));
    expect(() => loadAdapter(path, base)).toThrow("tensor prompt_embeddings is [3,64], this base needs [4,64]");
    const file = join(path, "adapter_model.safetensors");
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.toString("latin1").replace("prompt_embeddings", "prompt_embedding5"), "latin1");
    expect([...openSafetensors(file).tensors.keys()]).toEqual(["prompt_embedding5"]);
    expect(() => loadAdapter(path, base)).toThrow("has no tensor prompt_embeddings, which PREFIX_TUNING");
  });

  test("merging, with the reason", async () => {
    await expect(mergeAdapter(model, await fresh(prefix))).rejects.toThrow(
      "prefix-tuning cannot be merged: virtual tokens change no weight",
    );
  });

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
    openAdapter: async (from) => {
      const { bound, values } = loadAdapter(from, base);
      const info = { version: adapterVersion(from), path: from, method: bound.method, parameters: 0, bytes: 0 };
      return {
        info: { ...info, virtualTokens: bound.virtualTokens ?? 0 },
        weights: new AdapterWeights(device, bound, values, from),
      };
    },
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
