/** Prefix tuning, p-tuning and prompt tuning: configs, files and encoders, how a table starts, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Generator } from "@graft/core/generate";
import { openSafetensors } from "@graft/core/io";
import { type BaseModel, loadBaseModel, readWeight } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import { type Device, openDevice } from "@graft/kernels";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { promptConfigs as configs } from "./prompt-configs.ts";
import {
  type AdapterConfig,
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

const prefix = configs.prefix!;
const fresh = (config: AdapterConfig): Promise<LoadedAdapter> => createAdapter(config, baseOf(model), 5);

/** Of the last token of a short prompt. */
async function logits({ bound, values }: LoadedAdapter): Promise<Float32Array> {
  const weights = new AdapterWeights(device, bound, values, "test");
  const generator = new Generator(model, { maxSequences: 1 });
  try {
    return (await generator.nextLogits([1, 5, 6, 7, 8, 9, 10, 11], weights)).slice();
  } finally {
    await generator.destroy();
    weights.destroy();
  }
}

function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!)).toBeLessThan(tolerance);
}

for (const [name, config] of Object.entries(configs)) {
  test(`${name}: a checkpoint keeps what is trained, the file for use has the table alone and does the same`, async () => {
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

    expectClose(await logits(loaded), await logits(adapter), 1e-4);
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
});
