/** LLaMA against a plain float64 forward pass written from its definition, over what a config and its files may say. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Generator } from "../src/generate/index.ts";
import { openCheckpoint, openSafetensors, type TensorData, toFloat32, writeSafetensors } from "../src/io/index.ts";
import { loadBaseModel } from "../src/models/index.ts";
import { tinyConfig, writeTinyModel } from "./tiny-model.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

const ids = [1, 7, 30, 95, 2, 2, 64, 11, 5, 80, 33, 12];
type Config = typeof tinyConfig & { head_dim?: number; tie_word_embeddings?: boolean; rms_norm_eps: number };

/** Logits after the last of `ids`. `frequency`: angle per position of pair i. */
function reference(folder: string, config: Config, frequency: (i: number) => number): number[] {
  const file = openCheckpoint(folder);
  const get = (name: string): Float32Array | undefined =>
    file.has(name) ? toFloat32(file.read(name), file.info(name).dtype, name) : undefined;
  const linear = (name: string, x: readonly number[], weight = get(`${name}.weight`)!): number[] => {
    const bias = get(`${name}.bias`);
    return Array.from({ length: weight.length / x.length }, (_, row) =>
      x.reduce((sum, value, c) => sum + value * weight[row * x.length + c]!, bias?.[row] ?? 0),
    );
  };
  const norm = (name: string, x: readonly number[]): number[] => {
    const weight = get(`${name}.weight`)!;
    const mean = x.reduce((sum, value) => sum + value * value, 0) / x.length;
    return x.map((value, i) => (value * weight[i]!) / Math.sqrt(mean + config.rms_norm_eps));
  };
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, hidden_size: width } = config;
  const dim = config.head_dim ?? width / heads;
  const rotate = (x: readonly number[], position: number): number[] =>
    x.map((value, i) => {
      const pair = i % dim < dim / 2 ? i + dim / 2 : i - dim / 2;
      const angle = position * frequency(i % (dim / 2));
      return value * Math.cos(angle) + (i % dim < dim / 2 ? -1 : 1) * x[pair]! * Math.sin(angle);
    });
  const plus = (a: readonly number[], b: readonly number[]): number[] => a.map((value, i) => value + b[i]!);
  const table = get("model.embed_tokens.weight")!;
  let xs = ids.map((id) => [...table.subarray(id * width, (id + 1) * width)]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    const normed = xs.map((x) => norm(`${at}.input_layernorm`, x));
    const qs = normed.map((x, p) => rotate(linear(`${at}.self_attn.q_proj`, x), p));
    const ks = normed.map((x, p) => rotate(linear(`${at}.self_attn.k_proj`, x), p));
    const vs = normed.map((x) => linear(`${at}.self_attn.v_proj`, x));
    xs = xs.map((x, p) => {
      const attended = Array.from({ length: heads }, (_, h) => {
        const own = Math.floor(h / (heads / kvHeads)) * dim;
        const weights = ks
          .slice(0, p + 1)
          .map((k) =>
            Math.exp(
              Array.from({ length: dim }, (_, i) => qs[p]![h * dim + i]! * k[own + i]!).reduce((a, b) => a + b, 0) /
                Math.sqrt(dim),
            ),
          );
        const total = weights.reduce((a, b) => a + b, 0);
        return Array.from({ length: dim }, (_, i) =>
          weights.reduce((sum, w, key) => sum + (w / total) * vs[key]![own + i]!, 0),
        );
      }).flat();
      const middle = plus(x, linear(`${at}.self_attn.o_proj`, attended));
      const y = norm(`${at}.post_attention_layernorm`, middle);
      const up = linear(`${at}.mlp.up_proj`, y);
      const gated = linear(`${at}.mlp.gate_proj`, y).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
      return plus(middle, linear(`${at}.mlp.down_proj`, gated));
    });
  }
  const logits = linear(
    "lm_head",
    norm("model.norm", xs.at(-1)!),
    config.tie_word_embeddings ? table : get("lm_head.weight")!,
  );
  file.close();
  return logits;
}

/** Moves every second tensor into a shard of its own. */
function shard(folder: string): void {
  const whole = openSafetensors(join(folder, "model.safetensors"));
  const parts = [new Map<string, TensorData>(), new Map<string, TensorData>()] as const;
  for (const [i, [name, { dtype, shape }]] of [...whole.tensors].entries())
    parts[i % 2 === 0 ? 0 : 1].set(name, { dtype, shape, bytes: whole.read(name) });
  whole.close();
  const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  for (const [i, part] of parts.entries()) writeSafetensors(join(folder, files[i]!), part);
  const map = Object.fromEntries(parts.flatMap((part, i) => [...part.keys()].map((name) => [name, files[i]!])));
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  rmSync(join(folder, "model.safetensors"));
}

const theta =
  (base: number, dim = 8) =>
  (i: number) =>
    base ** ((-2 * i) / dim);
const llama3 = {
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 32,
};
/** Llama 3.1's rule: wavelengths up to 8 stay, those from 32 on are stretched, between them both are mixed. */
const llama3Frequency = (i: number): number => {
  const f = theta(500_000)(i);
  const turns = (32 * f) / (2 * Math.PI); // of the original context
  const share = Math.min(1, Math.max(0, (turns - 1) / (4 - 1)));
  return share * f + ((1 - share) * f) / 8;
};

interface Variant {
  readonly config?: Record<string, unknown>;
  readonly dtype?: "F16" | "BF16";
  readonly frequency?: (i: number) => number;
  readonly isSharded?: boolean;
}
const variants: Record<string, Variant> = {
  "grouped key-value heads": {},
  "a key-value head for each head": { config: { num_key_value_heads: undefined } },
  "one key-value head": { config: { num_key_value_heads: 1 } },
  "heads of a size of their own": { config: { head_dim: 16 }, frequency: theta(10_000, 16) },
  "a tied head": { config: { tie_word_embeddings: true } },
  "attention biases": { config: { attention_bias: true } },
  "MLP biases": { config: { mlp_bias: true } },
  "theta as 4.x spells it": { config: { rope_theta: 500, torch_dtype: "float32" }, frequency: theta(500) },
  "theta as 5.x spells it": {
    config: { rope_parameters: { rope_type: "default", rope_theta: 500 }, dtype: "float32" },
    frequency: theta(500),
  },
  "linear scaling, 4.x": {
    config: { rope_scaling: { type: "linear", factor: 4 } },
    frequency: (i) => theta(10_000)(i) / 4,
  },
  "linear scaling, 5.x": {
    config: { rope_parameters: { rope_type: "linear", factor: 4, rope_theta: 500 } },
    frequency: (i) => theta(500)(i) / 4,
  },
  "dynamic scaling": { config: { rope_scaling: { rope_type: "dynamic", factor: 2 } } },
  "llama3 scaling, 4.x": {
    config: { rope_theta: 500_000, rope_scaling: { rope_type: "llama3", ...llama3 } },
    frequency: llama3Frequency,
  },
  "llama3 scaling, 5.x": {
    config: { rope_parameters: { rope_type: "llama3", rope_theta: 500_000, ...llama3 } },
    frequency: llama3Frequency,
  },
  "f16 weights": { dtype: "F16" },
  "bf16 weights": { dtype: "BF16" },
  "shards of f16 with biases": { dtype: "F16", isSharded: true, config: { attention_bias: true, mlp_bias: true } },
};

const root = mkdtempSync(join(tmpdir(), "llama-"));
test.each(Object.entries(variants))("%s: logits are those of the definition", async (name, variant) => {
  const { config = {}, dtype = "F32", frequency = theta(10_000), isSharded } = variant;
  const folder = writeTinyModel(join(root, name), { config, dtype });
  if (isSharded) shard(folder);
  const whole: Config = { ...tinyConfig, ...config };
  const want = reference(folder, { ...whole, num_key_value_heads: whole.num_key_value_heads ?? 4 }, frequency);
  const model = loadBaseModel(device, folder);
  const generator = new Generator(model, { maxSequences: 1 });
  const got = await generator.nextLogits(ids, undefined);
  await generator.destroy();
  expect(model.weights.get("model.layers.0.mlp.up_proj.weight")!.dtype).toBe(
    ({ F32: "f32", F16: "f16", BF16: "bf16" } as const)[dtype],
  );
  model.destroy();
  expect(got.length).toBe(want.length);
  const spread = Math.max(...want) - Math.min(...want);
  expect(spread).toBeGreaterThan(1);
  for (const [i, value] of want.entries()) expect(Math.abs(got[i]! - value)).toBeLessThan(1e-4 * spread);
});
