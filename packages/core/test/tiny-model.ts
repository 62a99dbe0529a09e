/** A tiny random model written as a Hugging Face folder, for tests that need a whole one: `tinyConfig` with changes, or a config of another architecture. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TensorData, toBF16, toF16, writeSafetensors } from "../src/io/index.ts";
import { modelFor } from "../src/models/index.ts";
import { Random } from "../src/random/index.ts";

export const tinyConfig = {
  model_type: "llama",
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  eos_token_id: 2,
  bos_token_id: 1,
};

/** Weights are wide enough that logits differ clearly. Returns the folder. */
export function writeTinyModel(
  folder: string,
  options: {
    seed?: number;
    dtype?: "F32" | "F16" | "BF16";
    config?: object;
  } = {},
): string {
  const { model_type, ...own } = (options.config ?? {}) as { model_type?: string };
  const config =
    model_type === undefined ? { ...tinyConfig, ...own } : { model_type, eos_token_id: 2, bos_token_id: 1, ...own };
  const definition = modelFor(config.model_type, "tiny");
  const random = new Random(options.seed ?? 1);
  const dtype = options.dtype ?? "F32";
  const tensors = new Map<string, TensorData>();
  for (const { name, shape } of definition.parameters(definition.parseConfig(config, "tiny"))) {
    const count = shape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length: count }, () =>
      shape.length === 1 ? 1 + 0.1 * random.normal() : 0.25 * random.normal(),
    );
    const packed = dtype === "F32" ? values : Uint16Array.from(values, dtype === "F16" ? toF16 : toBF16);
    tensors.set(name, { dtype, shape, bytes: new Uint8Array(packed.buffer) });
  }
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, "model.safetensors"), tensors, { format: "pt" });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return folder;
}
