/** A model of random weights, for timing. */
import { sizeOf } from "@graft/core/graph";
import { type BaseModel, type DeviceTensor, modelFor } from "@graft/core/models";
import { Random } from "@graft/core/random";
import type { Device } from "@graft/kernels";

/** LLaMA in f32: hidden 256, 4 layers, 4 heads, ffn 688, vocabulary 4096, 128 positions. */
export function randomLlama(device: Device): BaseModel {
  const definition = modelFor("llama", "bench");
  const config = definition.parseConfig(
    {
      vocab_size: 4096,
      hidden_size: 256,
      intermediate_size: 688,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      max_position_embeddings: 128,
    },
    "bench",
  );
  const random = new Random(1);
  const weights = new Map<string, DeviceTensor>();
  for (const { name, shape } of definition.parameters(config)) {
    const count = sizeOf(shape);
    const buffer = device.createBuffer(count * 4, name);
    device.write(
      buffer,
      Float32Array.from({ length: count }, () => (shape.length === 1 ? 1 : 0.04 * (random.uniform() - 0.5))),
    );
    weights.set(name, { shape, dtype: "f32", buffer });
  }
  return {
    path: "bench",
    definition,
    config,
    device,
    weights,
    generation: { eosTokenIds: [], bosTokenId: undefined, padTokenId: undefined },
    destroy() {
      for (const { buffer } of weights.values()) buffer.destroy();
    },
  };
}
