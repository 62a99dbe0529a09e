/**
 * BLOOM (Workshop 2022, arXiv:2211.05100): ALiBi instead of positions, a layer norm after the embedding, one projection for query, key and value whose
 * rows lie head by head. Names and config fields follow transformers' BloomForCausalLM.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { alibi } from "../nn/alibi.ts";
import type { ModelContext } from "../nn/context.ts";
import { activation, add, reshape } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  hidden_size: z.int().positive().optional(),
  n_embed: z.int().positive().optional(),
  n_layer: z.int().positive().optional(),
  num_hidden_layers: z.int().positive().optional(),
  n_head: z.int().positive().optional(),
  num_attention_heads: z.int().positive().optional(),
  seq_length: z.int().positive().default(2048),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  apply_residual_connection_post_layernorm: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

interface BloomConfig extends ModelSizes {
  readonly eps: number;
  readonly residualAfterNorm: boolean;
  readonly tied: boolean;
}

export const bloom = defineModel<BloomConfig>({
  modelType: "bloom",
  basePrefix: "transformer.",
  countsPadding: false,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    // The published files say n_embed, n_layer and num_attention_heads; transformers writes hidden_size, n_layer and n_head.
    const hiddenSize = c.hidden_size ?? c.n_embed;
    const layers = c.n_layer ?? c.num_hidden_layers;
    const heads = c.n_head ?? c.num_attention_heads;
    if (!hiddenSize || !layers || !heads)
      throw new ConfigError(`${where}: needs hidden_size (or n_embed), n_layer and n_head (or num_attention_heads)`);
    if (hiddenSize % heads !== 0)
      throw new ConfigError(`${where}: hidden_size ${hiddenSize} is no multiple of n_head ${heads}`);
    return {
      vocabSize: c.vocab_size,
      hiddenSize,
      layers,
      heads,
      kvHeads: heads,
      headDim: hiddenSize / heads,
      maxLength: c.seq_length,
      eps: c.layer_norm_epsilon,
      residualAfterNorm: c.apply_residual_connection_post_layernorm,
      tied: c.tie_word_embeddings,
    };
  },

  parameters(c) {
    const h = c.hiddenSize;
    return [
      { name: "transformer.word_embeddings.weight", shape: [c.vocabSize, h] },
      ...layerNormParameters("transformer.word_embeddings_layernorm", h),
      ...Array.from({ length: c.layers }, (_, i) => `transformer.h.${i}`).flatMap((layer) => [
        ...layerNormParameters(`${layer}.input_layernorm`, h),
        ...linearParameters(`${layer}.self_attention.query_key_value`, 3 * h, h, { bias: true }),
        ...linearParameters(`${layer}.self_attention.dense`, h, h, { bias: true }),
        ...layerNormParameters(`${layer}.post_attention_layernorm`, h),
        ...linearParameters(`${layer}.mlp.dense_h_to_4h`, 4 * h, h, { bias: true }),
        ...linearParameters(`${layer}.mlp.dense_4h_to_h`, h, 4 * h, { bias: true }),
      ]),
      ...layerNormParameters("transformer.ln_f", h),
      ...(c.tied ? [] : linearParameters("lm_head", c.vocabSize, h, { bias: false })),
    ];
  },

  isIgnored: (c, name) => c.tied && name === "lm_head.weight",

  hidden(m, c, ids) {
    const embedded = m.embedding("transformer.word_embeddings", ids); // [tokens, hidden]
    let x = m.tap("layer_in.0", m.layerNorm("transformer.word_embeddings_layernorm", embedded, c.eps));
    for (let i = 0; i < c.layers; i++) {
      x = m.layer(i, () => {
        const name = `transformer.h.${i}`;
        const normed = m.layerNorm(`${name}.input_layernorm`, x, c.eps);
        const stream = c.residualAfterNorm ? normed : x;
        const attention = (y: Tensor) => attend(m, c, i, y);
        const attended = add(stream, m.branch(`${name}.self_attention`, "attention", normed, attention, stream));
        const again = m.layerNorm(`${name}.post_attention_layernorm`, attended, c.eps);
        const next = c.residualAfterNorm ? again : attended;
        return add(
          next,
          m.branch(`${name}.mlp`, "mlp", again, (y) => mlp(m, `${name}.mlp`, y), next),
        );
      });
    }
    return m.tap("final_norm_out", m.layerNorm("transformer.ln_f", x, c.eps));
  },

  logits: (m, c, hidden) => m.linear("lm_head", hidden, { isHead: true, weight: headWeight(c) }),
  headWeight,

  tiny: [
    { vocab_size: 96, hidden_size: 32, n_layer: 2, n_head: 4, seq_length: 128 },
    // A number of heads that is no power of two.
    {
      vocab_size: 96,
      n_embed: 40,
      num_hidden_layers: 1,
      num_attention_heads: 5,
      seq_length: 128,
      tie_word_embeddings: false,
    },
    { vocab_size: 96, hidden_size: 32, n_layer: 1, n_head: 4, apply_residual_connection_post_layernorm: true },
  ],
});

function headWeight(c: BloomConfig): string {
  return c.tied ? "transformer.word_embeddings.weight" : "lm_head.weight";
}

function attend(m: ModelContext, c: BloomConfig, layer: number, x: Tensor): Tensor {
  const name = `transformer.h.${layer}.self_attention`;
  const fused = m.linear(`${name}.query_key_value`, x, { bias: true }); // [tokens, heads * 3 * headDim]
  const [q, k, v] = m.fusedHeads(fused, c.headDim, 3) as [Tensor, Tensor, Tensor]; // [tokens, heads, headDim]
  const scale = 1 / Math.sqrt(c.headDim);
  const out = m.attention(layer, q, k, v, { scale, window: 0, slopes: alibi(m, c.heads) });
  return m.linear(`${name}.dense`, reshape(out, x.shape), { bias: true });
}

function mlp(m: ModelContext, name: string, x: Tensor): Tensor {
  const up = activation("gelu_tanh", m.linear(`${name}.dense_h_to_4h`, x, { bias: true })); // [tokens, 4 hidden]
  return m.linear(`${name}.dense_4h_to_h`, up, { bias: true });
}
