/**
 * LLaMA (Touvron et al. 2023, arXiv:2302.13971) and what shares its file: Llama 2 and 3, Vicuna, Alpaca, Mistral (Jiang et al. 2023, arXiv:2310.06825).
 * Pre-norm decoder with RMSNorm, rotary positions, grouped key-value heads, gated SiLU MLP; Mistral's layers see a window of keys. Names and config
 * fields follow transformers' LlamaForCausalLM and MistralForCausalLM.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { activationSchema } from "../nn/activation-name.ts";
import type { ModelContext } from "../nn/context.ts";
import { type RopeParameters, ropeParameters, ropeScalingSchema, ropeTable } from "../nn/rope-table.ts";
import { add, activation, type ActivationName, mul, reshape, rope, swiglu } from "../ops/index.ts";
import { linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  hidden_size: z.int().positive(),
  intermediate_size: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  num_key_value_heads: z.int().positive().nullish(),
  head_dim: z.int().positive().nullish(),
  max_position_embeddings: z.int().positive().default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: activationSchema.default("silu"),
  rope_theta: z.number().positive().optional(),
  rope_scaling: ropeScalingSchema,
  rope_parameters: ropeScalingSchema,
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  sliding_window: z.int().positive().nullish(),
  tie_word_embeddings: z.boolean().default(false),
});

export interface LlamaConfig extends ModelSizes {
  readonly intermediateSize: number;
  readonly eps: number;
  readonly activation: ActivationName;
  readonly rope: RopeParameters;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** Keys that a query sees, itself included; 0: all. */
  readonly window: number;
  readonly tied: boolean;
}

/** `hasWindow`: the config's sliding_window counts. */
const llamaLike = (modelType: string, hasWindow: boolean, tiny: readonly object[]) =>
  defineModel<LlamaConfig>({
    modelType,
    basePrefix: "model.",
    countsPadding: true,

    parseConfig(json, where) {
      const c = parseWith(configSchema, json, where);
      const heads = c.num_attention_heads;
      const kvHeads = c.num_key_value_heads ?? heads;
      if (heads % kvHeads !== 0)
        throw new ConfigError(
          `${where}: num_attention_heads ${heads} is no multiple of num_key_value_heads ${kvHeads}`,
        );
      if (!c.head_dim && c.hidden_size % heads !== 0) {
        throw new ConfigError(
          `${where}: hidden_size ${c.hidden_size} is no multiple of num_attention_heads ${heads}, and there is no head_dim`,
        );
      }
      const rope = ropeParameters(c, where);
      const rotated = c.rope_parameters?.partial_rotary_factor ?? 1;
      if (rotated !== 1)
        throw new ConfigError(`${where}: partial_rotary_factor is ${rotated}; a llama rotates all of each head`);
      return {
        vocabSize: c.vocab_size,
        hiddenSize: c.hidden_size,
        intermediateSize: c.intermediate_size,
        layers: c.num_hidden_layers,
        heads,
        kvHeads,
        headDim: c.head_dim ?? c.hidden_size / heads,
        // Linear scaling makes room for factor times the length that max_position_embeddings says. Dynamic scaling would too, but there every longer
        // length has angles of its own, which keys in a cache would not follow.
        maxLength: Math.floor(c.max_position_embeddings * (rope.type === "linear" ? rope.factor : 1)),
        eps: c.rms_norm_eps,
        activation: c.hidden_act,
        rope,
        attentionBias: c.attention_bias,
        mlpBias: c.mlp_bias,
        window: hasWindow ? (c.sliding_window ?? 0) : 0,
        tied: c.tie_word_embeddings,
      };
    },

    parameters(c) {
      const [attention, feedForward] = [{ bias: c.attentionBias }, { bias: c.mlpBias }];
      const q = c.heads * c.headDim;
      const kv = c.kvHeads * c.headDim;
      return [
        { name: "model.embed_tokens.weight", shape: [c.vocabSize, c.hiddenSize] },
        ...Array.from({ length: c.layers }, (_, i) => `model.layers.${i}`).flatMap((layer) => [
          { name: `${layer}.input_layernorm.weight`, shape: [c.hiddenSize] },
          ...linearParameters(`${layer}.self_attn.q_proj`, q, c.hiddenSize, attention),
          ...linearParameters(`${layer}.self_attn.k_proj`, kv, c.hiddenSize, attention),
          ...linearParameters(`${layer}.self_attn.v_proj`, kv, c.hiddenSize, attention),
          ...linearParameters(`${layer}.self_attn.o_proj`, c.hiddenSize, q, attention),
          { name: `${layer}.post_attention_layernorm.weight`, shape: [c.hiddenSize] },
          ...linearParameters(`${layer}.mlp.gate_proj`, c.intermediateSize, c.hiddenSize, feedForward),
          ...linearParameters(`${layer}.mlp.up_proj`, c.intermediateSize, c.hiddenSize, feedForward),
          ...linearParameters(`${layer}.mlp.down_proj`, c.hiddenSize, c.intermediateSize, feedForward),
        ]),
        { name: "model.norm.weight", shape: [c.hiddenSize] },
        ...(c.tied ? [] : [{ name: "lm_head.weight", shape: [c.vocabSize, c.hiddenSize] }]),
      ];
    },

    isIgnored: (c, name) => (c.tied && name === "lm_head.weight") || name.endsWith(".rotary_emb.inv_freq"),

    hidden(m, c, ids) {
      const table = ropeTable(m, c.rope, c.headDim);
      let x = m.tap("layer_in.0", m.embedding("model.embed_tokens", ids)); // [tokens, hidden]
      for (let i = 0; i < c.layers; i++) {
        x = m.layer(i, () => {
          const name = `model.layers.${i}`;
          const normed = m.rmsNorm(`${name}.input_layernorm`, x, c.eps);
          const attention = (input: Tensor) => attend(m, c, i, input, table);
          const attended = add(x, m.branch(`${name}.self_attn`, "attention", normed, attention, x));
          const again = m.rmsNorm(`${name}.post_attention_layernorm`, attended, c.eps);
          return add(
            attended,
            m.branch(`${name}.mlp`, "mlp", again, (input) => mlp(m, c, `${name}.mlp`, input), attended),
          );
        });
      }
      return m.tap("final_norm_out", m.rmsNorm("model.norm", x, c.eps));
    },

    logits: (m, c, hidden) => m.linear("lm_head", hidden, { isHead: true, weight: headWeight(c) }),
    headWeight,
    tiny,
  });

const tinyLlama = {
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
};

export const llama = llamaLike("llama", false, [
  tinyLlama,
  { ...tinyLlama, head_dim: 12, attention_bias: true, mlp_bias: true, hidden_act: "gelu", tie_word_embeddings: true },
]);

export const mistral = llamaLike("mistral", true, [
  { ...tinyLlama, sliding_window: 5 },
  { ...tinyLlama, sliding_window: null },
]);

function headWeight(c: LlamaConfig): string {
  return c.tied ? "model.embed_tokens.weight" : "lm_head.weight";
}

function attend(
  m: ModelContext,
  c: LlamaConfig,
  layer: number,
  x: Tensor,
  table: { cos: Tensor; sin: Tensor },
): Tensor {
  const name = `model.layers.${layer}.self_attn`;
  const project = (which: string) => m.heads(m.linear(`${name}.${which}`, x, { bias: c.attentionBias }), c.headDim);
  const q = rope(project("q_proj"), m.positions, table); // [tokens, heads, headDim]
  const k = rope(project("k_proj"), m.positions, table); // [tokens, kvHeads, headDim]
  const v = project("v_proj");
  const out = m.attention(layer, q, k, v, { scale: 1 / Math.sqrt(c.headDim), window: c.window });
  return m.linear(`${name}.o_proj`, reshape(out, [x.shape[0]!, c.heads * c.headDim]), { bias: c.attentionBias });
}

function mlp(m: ModelContext, c: LlamaConfig, name: string, x: Tensor): Tensor {
  const gate = m.linear(`${name}.gate_proj`, x, { bias: c.mlpBias }); // [tokens, intermediate]
  const up = m.linear(`${name}.up_proj`, x, { bias: c.mlpBias });
  const gated = c.activation === "silu" ? swiglu(gate, up) : mul(activation(c.activation, gate), up);
  return m.linear(`${name}.down_proj`, gated, { bias: c.mlpBias });
}
