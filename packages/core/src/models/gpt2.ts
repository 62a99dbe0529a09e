/**
 * GPT-2 (Radford et al. 2019): learned positions, weights stored [in, out] (Conv1D), one projection for query, key and value side by side. Names and
 * config fields follow transformers' GPT2LMHeadModel.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { activationSchema } from "../nn/activation-name.ts";
import type { ModelContext } from "../nn/context.ts";
import { activation, type ActivationName, add, reshape, slice } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  n_positions: z.int().positive().default(1024),
  n_embd: z.int().positive(),
  n_layer: z.int().positive(),
  n_head: z.int().positive(),
  n_inner: z.int().positive().nullish(),
  activation_function: activationSchema.default("gelu_tanh"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  scale_attn_weights: z.boolean().default(true),
  scale_attn_by_inverse_layer_idx: z.boolean().default(false),
  tie_word_embeddings: z.boolean().default(true),
});

interface Gpt2Config extends ModelSizes {
  readonly intermediateSize: number;
  readonly eps: number;
  readonly activation: ActivationName;
  /** Scores are divided by the square root of the head size. */
  readonly scaled: boolean;
  /** Scores are divided by the layer's number, counted from 1. */
  readonly scaledByLayer: boolean;
  readonly tied: boolean;
}

const conv = { bias: true, fanInFanOut: true } as const;

export const gpt2 = defineModel<Gpt2Config>({
  modelType: "gpt2",
  basePrefix: "transformer.",
  countsPadding: true,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    if (c.n_embd % c.n_head !== 0)
      throw new ConfigError(`${where}: n_embd ${c.n_embd} is no multiple of n_head ${c.n_head}`);
    return {
      vocabSize: c.vocab_size,
      hiddenSize: c.n_embd,
      layers: c.n_layer,
      heads: c.n_head,
      kvHeads: c.n_head,
      headDim: c.n_embd / c.n_head,
      maxLength: c.n_positions,
      intermediateSize: c.n_inner ?? 4 * c.n_embd,
      eps: c.layer_norm_epsilon,
      activation: c.activation_function,
      scaled: c.scale_attn_weights,
      scaledByLayer: c.scale_attn_by_inverse_layer_idx,
      tied: c.tie_word_embeddings,
    };
  },

  parameters(c) {
    const h = c.hiddenSize;
    return [
      { name: "transformer.wte.weight", shape: [c.vocabSize, h] },
      { name: "transformer.wpe.weight", shape: [c.maxLength, h] },
      ...Array.from({ length: c.layers }, (_, i) => `transformer.h.${i}`).flatMap((layer) => [
        ...layerNormParameters(`${layer}.ln_1`, h),
        ...linearParameters(`${layer}.attn.c_attn`, 3 * h, h, conv),
        ...linearParameters(`${layer}.attn.c_proj`, h, h, conv),
        ...layerNormParameters(`${layer}.ln_2`, h),
        ...linearParameters(`${layer}.mlp.c_fc`, c.intermediateSize, h, conv),
        ...linearParameters(`${layer}.mlp.c_proj`, h, c.intermediateSize, conv),
      ]),
      ...layerNormParameters("transformer.ln_f", h),
      ...(c.tied ? [] : linearParameters("lm_head", c.vocabSize, h, { bias: false })),
    ];
  },

  // Older files carry the causal mask.
  isIgnored: (c, name) => (c.tied && name === "lm_head.weight") || /\.attn\.(bias|masked_bias)$/.test(name),

  hidden(m, c, ids) {
    const embedded = add(m.embedding("transformer.wte", ids), m.embedding("transformer.wpe", m.positions));
    let x = m.tap("layer_in.0", embedded); // [tokens, hidden]
    for (let i = 0; i < c.layers; i++) {
      x = m.layer(i, () => {
        const name = `transformer.h.${i}`;
        const normed = m.layerNorm(`${name}.ln_1`, x, c.eps);
        const attended = add(
          x,
          m.branch(`${name}.attn`, "attention", normed, (y) => attend(m, c, i, y), x),
        );
        const again = m.layerNorm(`${name}.ln_2`, attended, c.eps);
        return add(
          attended,
          m.branch(`${name}.mlp`, "mlp", again, (y) => mlp(m, c, `${name}.mlp`, y), attended),
        );
      });
    }
    return m.tap("final_norm_out", m.layerNorm("transformer.ln_f", x, c.eps));
  },

  logits: (m, c, hidden) => m.linear("lm_head", hidden, { isHead: true, weight: headWeight(c) }),
  headWeight,

  tiny: [
    { vocab_size: 96, n_embd: 32, n_layer: 2, n_head: 4, n_positions: 128 },
    {
      vocab_size: 96,
      n_embd: 32,
      n_layer: 2,
      n_head: 2,
      n_inner: 48,
      n_positions: 128,
      activation_function: "gelu",
      scale_attn_weights: false,
      scale_attn_by_inverse_layer_idx: true,
      tie_word_embeddings: false,
    },
  ],
});

function headWeight(c: Gpt2Config): string {
  return c.tied ? "transformer.wte.weight" : "lm_head.weight";
}

function attend(m: ModelContext, c: Gpt2Config, layer: number, x: Tensor): Tensor {
  const name = `transformer.h.${layer}.attn`;
  const fused = m.linear(`${name}.c_attn`, x, conv); // [tokens, 3 hidden]
  const part = (i: number) => m.heads(slice(fused, 1, i * c.hiddenSize, c.hiddenSize), c.headDim); // [tokens, heads, headDim]
  const scale = (c.scaled ? 1 / Math.sqrt(c.headDim) : 1) / (c.scaledByLayer ? layer + 1 : 1);
  const out = m.attention(layer, part(0), part(1), part(2), { scale, window: 0 });
  return m.linear(`${name}.c_proj`, reshape(out, x.shape), conv);
}

function mlp(m: ModelContext, c: Gpt2Config, name: string, x: Tensor): Tensor {
  const up = activation(c.activation, m.linear(`${name}.c_fc`, x, conv)); // [tokens, intermediate]
  return m.linear(`${name}.c_proj`, up, conv);
}
