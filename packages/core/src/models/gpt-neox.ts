/**
 * GPT-NeoX (Black et al. 2022, arXiv:2204.06745) and Pythia: rotary positions on the first part of each head, attention and MLP side by side, one
 * projection for query, key and value whose rows lie head by head. Names and config fields follow transformers' GPTNeoXForCausalLM.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { activationSchema } from "../nn/activation-name.ts";
import type { ModelContext } from "../nn/context.ts";
import { type RopeParameters, ropeParameters, ropeScalingSchema, ropeTable } from "../nn/rope-table.ts";
import { activation, type ActivationName, add, reshape, rope } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  hidden_size: z.int().positive(),
  intermediate_size: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  max_position_embeddings: z.int().positive().default(2048),
  layer_norm_eps: z.number().positive().default(1e-5),
  hidden_act: activationSchema.default("gelu"),
  rotary_pct: z.number().positive().max(1).default(0.25),
  rotary_emb_base: z.number().positive().default(10_000),
  rope_scaling: ropeScalingSchema,
  rope_parameters: ropeScalingSchema,
  attention_bias: z.boolean().default(true),
  use_parallel_residual: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(false),
});

interface NeoXConfig extends ModelSizes {
  readonly intermediateSize: number;
  readonly eps: number;
  readonly activation: ActivationName;
  readonly rope: RopeParameters;
  /** Columns of each head that rotate. */
  readonly rotaryDim: number;
  readonly attentionBias: boolean;
  readonly parallelResidual: boolean;
  readonly tied: boolean;
}

export const gptNeoX = defineModel<NeoXConfig>({
  modelType: "gpt_neox",
  basePrefix: "gpt_neox.",
  countsPadding: true,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    const { hidden_size: hiddenSize, num_attention_heads: heads } = c;
    if (hiddenSize % heads !== 0)
      throw new ConfigError(`${where}: hidden_size ${hiddenSize} is no multiple of num_attention_heads ${heads}`);
    const headDim = hiddenSize / heads;
    const rotaryDim = Math.floor(headDim * (c.rope_parameters?.partial_rotary_factor ?? c.rotary_pct));
    if (rotaryDim === 0 || rotaryDim % 2 !== 0)
      throw new ConfigError(
        `${where}: ${rotaryDim} of ${headDim} columns of a head rotate; it must be an even number above 0`,
      );
    const parameters = ropeParameters({ ...c, rope_theta: c.rotary_emb_base }, where);
    return {
      vocabSize: c.vocab_size,
      hiddenSize,
      layers: c.num_hidden_layers,
      heads,
      kvHeads: heads,
      headDim,
      maxLength: Math.floor(c.max_position_embeddings * (parameters.type === "linear" ? parameters.factor : 1)),
      intermediateSize: c.intermediate_size,
      eps: c.layer_norm_eps,
      activation: c.hidden_act,
      rope: parameters,
      rotaryDim,
      attentionBias: c.attention_bias,
      parallelResidual: c.use_parallel_residual,
      tied: c.tie_word_embeddings,
    };
  },

  parameters(c) {
    const h = c.hiddenSize;
    const attention = { bias: c.attentionBias };
    return [
      { name: "gpt_neox.embed_in.weight", shape: [c.vocabSize, h] },
      ...Array.from({ length: c.layers }, (_, i) => `gpt_neox.layers.${i}`).flatMap((layer) => [
        ...layerNormParameters(`${layer}.input_layernorm`, h),
        ...layerNormParameters(`${layer}.post_attention_layernorm`, h),
        ...linearParameters(`${layer}.attention.query_key_value`, 3 * h, h, attention),
        ...linearParameters(`${layer}.attention.dense`, h, h, attention),
        ...linearParameters(`${layer}.mlp.dense_h_to_4h`, c.intermediateSize, h, { bias: true }),
        ...linearParameters(`${layer}.mlp.dense_4h_to_h`, h, c.intermediateSize, { bias: true }),
      ]),
      ...layerNormParameters("gpt_neox.final_layer_norm", h),
      ...(c.tied ? [] : linearParameters("embed_out", c.vocabSize, h, { bias: false })),
    ];
  },

  // Older files carry the causal mask and the rotary frequencies.
  isIgnored: (c, name) =>
    (c.tied && name === "embed_out.weight") || /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/.test(name),

  hidden(m, c, ids) {
    const table = ropeTable(m, c.rope, c.rotaryDim);
    let x = m.tap("layer_in.0", m.embedding("gpt_neox.embed_in", ids)); // [tokens, hidden]
    for (let i = 0; i < c.layers; i++) {
      x = m.layer(i, () => {
        const name = `gpt_neox.layers.${i}`;
        const normed = m.layerNorm(`${name}.input_layernorm`, x, c.eps);
        const attention = (y: Tensor) => attend(m, c, i, y, table);
        const attended = add(x, m.branch(`${name}.attention`, "attention", normed, attention, x));
        const stream = c.parallelResidual ? x : attended;
        const again = m.layerNorm(`${name}.post_attention_layernorm`, stream, c.eps);
        return add(
          attended,
          m.branch(`${name}.mlp`, "mlp", again, (y) => mlp(m, c, `${name}.mlp`, y), stream),
        );
      });
    }
    return m.tap("final_norm_out", m.layerNorm("gpt_neox.final_layer_norm", x, c.eps));
  },

  logits: (m, c, hidden) => m.linear("embed_out", hidden, { isHead: true, weight: headWeight(c) }),
  headWeight,

  tiny: [
    {
      vocab_size: 96,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 128,
    },
    {
      vocab_size: 96,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      max_position_embeddings: 128,
      rotary_pct: 1,
      rotary_emb_base: 500,
      use_parallel_residual: false,
      attention_bias: false,
      hidden_act: "gelu_new",
      tie_word_embeddings: true,
    },
  ],
});

function headWeight(c: NeoXConfig): string {
  return c.tied ? "gpt_neox.embed_in.weight" : "embed_out.weight";
}

function attend(
  m: ModelContext,
  c: NeoXConfig,
  layer: number,
  x: Tensor,
  table: { readonly cos: Tensor; readonly sin: Tensor },
): Tensor {
  const name = `gpt_neox.layers.${layer}.attention`;
  const fused = m.linear(`${name}.query_key_value`, x, { bias: c.attentionBias }); // [tokens, heads * 3 * headDim]
  const [q, k, v] = m.fusedHeads(fused, c.headDim, 3) as [Tensor, Tensor, Tensor]; // [tokens, heads, headDim]
  const turned = (t: Tensor) => rope(t, m.positions, table);
  const out = m.attention(layer, turned(q), turned(k), v, { scale: 1 / Math.sqrt(c.headDim), window: 0 });
  return m.linear(`${name}.dense`, reshape(out, x.shape), { bias: c.attentionBias });
}

function mlp(m: ModelContext, c: NeoXConfig, name: string, x: Tensor): Tensor {
  const up = activation(c.activation, m.linear(`${name}.dense_h_to_4h`, x, { bias: true })); // [tokens, intermediate]
  return m.linear(`${name}.dense_4h_to_h`, up, { bias: true });
}
