/**
 * ChatGLM2 and ChatGLM3 (GLM team 2024, arXiv:2406.12793): interleaved rotary positions on the first half of each head, few key-value groups, one projection for
 * gate and value of the MLP. Names and config fields follow the published modeling_chatglm.py. There are no reference values for it in the golden kit: the test
 * compares with a float64 forward pass written for it alone.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import type { ModelContext } from "../nn/context.ts";
import { ropeTable } from "../nn/rope-table.ts";
import { add, reshape, rope, slice, swiglu } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  padded_vocab_size: z.int().positive().optional(),
  hidden_size: z.int().positive(),
  ffn_hidden_size: z.int().positive().optional(),
  num_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  kv_channels: z.int().positive().default(128),
  multi_query_attention: z.boolean().default(false),
  multi_query_group_num: z.int().positive().default(1),
  seq_length: z.int().positive().default(2048),
  layernorm_epsilon: z.number().positive().default(1e-5),
  rmsnorm: z.boolean().default(true),
  post_layer_norm: z.boolean().default(true),
  apply_residual_connection_post_layernorm: z.boolean().default(false),
  add_bias_linear: z.boolean().default(false),
  add_qkv_bias: z.boolean().default(false),
  rope_ratio: z.number().positive().default(1),
  tie_word_embeddings: z.boolean().default(false),
});

interface ChatGlmConfig extends ModelSizes {
  readonly intermediateSize: number;
  readonly eps: number;
  readonly ropeTheta: number;
  readonly rmsNorm: boolean;
  readonly finalNorm: boolean;
  readonly residualAfterNorm: boolean;
  readonly bias: boolean;
  readonly qkvBias: boolean;
  /** Query, key and value lie head by head in the fused projection, instead of one after the other. */
  readonly fusedByHead: boolean;
  readonly tied: boolean;
}

const LAYERS = "transformer.encoder.layers";

export const chatGlm = defineModel<ChatGlmConfig>({
  modelType: "chatglm",
  basePrefix: "transformer.",
  countsPadding: true,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    if (c.padded_vocab_size === undefined || c.ffn_hidden_size === undefined)
      throw new ConfigError(
        `${where}: has no padded_vocab_size and ffn_hidden_size; the layout of ChatGLM2 and 3 is supported, that of the first ChatGLM-6B is not`,
      );
    const heads = c.num_attention_heads;
    const kvHeads = c.multi_query_attention ? c.multi_query_group_num : heads;
    if (heads % kvHeads !== 0)
      throw new ConfigError(
        `${where}: num_attention_heads ${heads} is no multiple of multi_query_group_num ${kvHeads}`,
      );
    if (c.kv_channels % 4 !== 0)
      throw new ConfigError(
        `${where}: kv_channels ${c.kv_channels} is no multiple of 4, as rotation of half of it needs`,
      );
    return {
      vocabSize: c.padded_vocab_size,
      hiddenSize: c.hidden_size,
      layers: c.num_layers,
      heads,
      kvHeads,
      headDim: c.kv_channels,
      maxLength: c.seq_length,
      intermediateSize: c.ffn_hidden_size,
      eps: c.layernorm_epsilon,
      ropeTheta: 10_000 * c.rope_ratio,
      rmsNorm: c.rmsnorm,
      finalNorm: c.post_layer_norm,
      residualAfterNorm: c.apply_residual_connection_post_layernorm,
      bias: c.add_bias_linear,
      qkvBias: c.add_bias_linear || c.add_qkv_bias,
      fusedByHead: !c.multi_query_attention,
      tied: c.tie_word_embeddings,
    };
  },

  parameters(c) {
    const h = c.hiddenSize;
    const norm = (name: string) =>
      c.rmsNorm ? [{ name: `${name}.weight`, shape: [h] }] : layerNormParameters(name, h);
    const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim];
    return [
      { name: "transformer.embedding.word_embeddings.weight", shape: [c.vocabSize, h] },
      ...Array.from({ length: c.layers }, (_, i) => `${LAYERS}.${i}`).flatMap((layer) => [
        ...norm(`${layer}.input_layernorm`),
        ...linearParameters(`${layer}.self_attention.query_key_value`, q + 2 * kv, h, { bias: c.qkvBias }),
        ...linearParameters(`${layer}.self_attention.dense`, h, q, c),
        ...norm(`${layer}.post_attention_layernorm`),
        ...linearParameters(`${layer}.mlp.dense_h_to_4h`, 2 * c.intermediateSize, h, c),
        ...linearParameters(`${layer}.mlp.dense_4h_to_h`, h, c.intermediateSize, c),
      ]),
      ...(c.finalNorm ? norm("transformer.encoder.final_layernorm") : []),
      ...(c.tied ? [] : [{ name: "transformer.output_layer.weight", shape: [c.vocabSize, h] }]),
    ];
  },

  isIgnored: (c, name) =>
    name === "transformer.rotary_pos_emb.inv_freq" || (c.tied && name === "transformer.output_layer.weight"),

  hidden(m, c, ids) {
    // Half of each head rotates; its frequencies are those of a head of that size.
    const table = ropeTable(m, { type: "default", theta: c.ropeTheta }, c.headDim / 2);
    const norm = (name: string, t: Tensor) => (c.rmsNorm ? m.rmsNorm(name, t, c.eps) : m.layerNorm(name, t, c.eps));
    let x = m.tap("layer_in.0", m.embedding("transformer.embedding.word_embeddings", ids)); // [tokens, hidden]
    for (let i = 0; i < c.layers; i++) {
      x = m.layer(i, () => {
        const name = `${LAYERS}.${i}`;
        const normed = norm(`${name}.input_layernorm`, x);
        const stream = c.residualAfterNorm ? normed : x;
        const attention = (y: Tensor) => attend(m, c, i, y, table);
        const attended = add(stream, m.branch(`${name}.self_attention`, "attention", normed, attention, stream));
        const again = norm(`${name}.post_attention_layernorm`, attended);
        const next = c.residualAfterNorm ? again : attended;
        return add(
          next,
          m.branch(`${name}.mlp`, "mlp", again, (y) => mlp(m, c, `${name}.mlp`, y), next),
        );
      });
    }
    return m.tap("final_norm_out", c.finalNorm ? norm("transformer.encoder.final_layernorm", x) : x);
  },

  logits: (m, c, hidden) => m.linear("transformer.output_layer", hidden, { isHead: true, weight: headWeight(c) }),
  headWeight,

  tiny: [
    {
      padded_vocab_size: 96,
      hidden_size: 32,
      ffn_hidden_size: 40,
      num_layers: 2,
      num_attention_heads: 4,
      kv_channels: 8,
      multi_query_attention: true,
      multi_query_group_num: 2,
      seq_length: 128,
      add_qkv_bias: true,
    },
    {
      padded_vocab_size: 96,
      hidden_size: 32,
      ffn_hidden_size: 40,
      num_layers: 1,
      num_attention_heads: 4,
      kv_channels: 8,
      seq_length: 128,
      add_bias_linear: true,
      rmsnorm: false,
      apply_residual_connection_post_layernorm: true,
      rope_ratio: 2,
    },
  ],
});

function headWeight(c: ChatGlmConfig): string {
  return c.tied ? "transformer.embedding.word_embeddings.weight" : "transformer.output_layer.weight";
}

function attend(
  m: ModelContext,
  c: ChatGlmConfig,
  layer: number,
  x: Tensor,
  table: { readonly cos: Tensor; readonly sin: Tensor },
): Tensor {
  const name = `${LAYERS}.${layer}.self_attention`;
  const fused = m.linear(`${name}.query_key_value`, x, { bias: c.qkvBias });
  const [q, k, v] = (c.fusedByHead ? m.fusedHeads(fused, c.headDim, 3) : groupedHeads(m, c, fused)) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const turned = (t: Tensor) => rope(t, m.positions, table, { interleaved: true });
  const out = m.attention(layer, turned(q), turned(k), v, { scale: 1 / Math.sqrt(c.headDim), window: 0 });
  return m.linear(`${name}.dense`, reshape(out, [x.shape[0]!, c.heads * c.headDim]), { bias: c.bias });
}

/** Query heads, then key groups, then value groups: each [tokens, heads or groups, headDim]. */
function groupedHeads(m: ModelContext, c: ChatGlmConfig, fused: Tensor): Tensor[] {
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim];
  return [slice(fused, 1, 0, q), slice(fused, 1, q, kv), slice(fused, 1, q + kv, kv)].map((t) => m.heads(t, c.headDim));
}

function mlp(m: ModelContext, c: ChatGlmConfig, name: string, x: Tensor): Tensor {
  const both = m.linear(`${name}.dense_h_to_4h`, x, { bias: c.bias }); // [tokens, 2 intermediate]
  const n = c.intermediateSize;
  return m.linear(`${name}.dense_4h_to_h`, swiglu(slice(both, 1, 0, n), slice(both, 1, n, n)), { bias: c.bias });
}
