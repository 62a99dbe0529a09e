/**
 * GPT-J (Wang & Komatsuzaki 2021): interleaved rotary positions on the first part of each head, one layer norm that feeds attention and MLP side by
 * side, an output layer with a bias. Names and config fields follow transformers' GPTJForCausalLM.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { activationSchema } from "../nn/activation-name.ts";
import type { ModelContext } from "../nn/context.ts";
import { ropeTable } from "../nn/rope-table.ts";
import { activation, type ActivationName, add, reshape, rope } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  n_positions: z.int().positive().default(2048),
  n_embd: z.int().positive(),
  n_layer: z.int().positive(),
  n_head: z.int().positive(),
  n_inner: z.int().positive().nullish(),
  rotary_dim: z.int().positive().default(64),
  activation_function: activationSchema.default("gelu_tanh"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(false),
});

interface GptJConfig extends ModelSizes {
  readonly intermediateSize: number;
  readonly eps: number;
  readonly activation: ActivationName;
  /** Columns of each head that rotate. */
  readonly rotaryDim: number;
  readonly tied: boolean;
}

export const gptJ = defineModel<GptJConfig>({
  modelType: "gptj",
  basePrefix: "transformer.",
  countsPadding: true,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    if (c.n_embd % c.n_head !== 0)
      throw new ConfigError(`${where}: n_embd ${c.n_embd} is no multiple of n_head ${c.n_head}`);
    const headDim = c.n_embd / c.n_head;
    if (c.rotary_dim > headDim || c.rotary_dim % 2 !== 0)
      throw new ConfigError(
        `${where}: rotary_dim is ${c.rotary_dim}; it must be even and at most the head size ${headDim}`,
      );
    return {
      vocabSize: c.vocab_size,
      hiddenSize: c.n_embd,
      layers: c.n_layer,
      heads: c.n_head,
      kvHeads: c.n_head,
      headDim,
      maxLength: c.n_positions,
      intermediateSize: c.n_inner ?? 4 * c.n_embd,
      eps: c.layer_norm_epsilon,
      activation: c.activation_function,
      rotaryDim: c.rotary_dim,
      tied: c.tie_word_embeddings,
    };
  },

  parameters(c) {
    const h = c.hiddenSize;
    return [
      { name: "transformer.wte.weight", shape: [c.vocabSize, h] },
      ...Array.from({ length: c.layers }, (_, i) => `transformer.h.${i}`).flatMap((layer) => [
        ...layerNormParameters(`${layer}.ln_1`, h),
        ...["q_proj", "k_proj", "v_proj", "out_proj"].flatMap((which) =>
          linearParameters(`${layer}.attn.${which}`, h, h, { bias: false }),
        ),
        ...linearParameters(`${layer}.mlp.fc_in`, c.intermediateSize, h, { bias: true }),
        ...linearParameters(`${layer}.mlp.fc_out`, h, c.intermediateSize, { bias: true }),
      ]),
      ...layerNormParameters("transformer.ln_f", h),
      ...(c.tied ? [] : [{ name: "lm_head.weight", shape: [c.vocabSize, h] }]),
      { name: "lm_head.bias", shape: [c.vocabSize] },
    ];
  },

  // Older files carry the causal mask.
  isIgnored: (c, name) => (c.tied && name === "lm_head.weight") || /\.attn\.(bias|masked_bias)$/.test(name),

  hidden(m, c, ids) {
    const table = ropeTable(m, { type: "default", theta: 10_000 }, c.rotaryDim);
    let x = m.tap("layer_in.0", m.embedding("transformer.wte", ids)); // [tokens, hidden]
    for (let i = 0; i < c.layers; i++) {
      x = m.layer(i, () => {
        const name = `transformer.h.${i}`;
        const normed = m.layerNorm(`${name}.ln_1`, x, c.eps);
        const attention = (y: Tensor) => attend(m, c, i, y, table);
        const attended = add(x, m.branch(`${name}.attn`, "attention", normed, attention, x));
        return add(
          attended,
          m.branch(`${name}.mlp`, "mlp", normed, (y) => mlp(m, c, `${name}.mlp`, y), x),
        );
      });
    }
    return m.tap("final_norm_out", m.layerNorm("transformer.ln_f", x, c.eps));
  },

  logits: (m, c, hidden) =>
    m.linear("lm_head", hidden, {
      bias: true,
      isHead: true,
      weight: c.tied ? "transformer.wte.weight" : "lm_head.weight",
    }),
  // The bias comes after the product.
  headWeight: () => undefined,

  tiny: [
    { vocab_size: 96, n_embd: 32, n_layer: 2, n_head: 4, n_positions: 128, rotary_dim: 4 },
    { vocab_size: 96, n_embd: 32, n_layer: 1, n_head: 2, n_inner: 40, n_positions: 128, rotary_dim: 16 },
  ],
});

function attend(
  m: ModelContext,
  c: GptJConfig,
  layer: number,
  x: Tensor,
  table: { readonly cos: Tensor; readonly sin: Tensor },
): Tensor {
  const name = `transformer.h.${layer}.attn`;
  const project = (which: string) => m.heads(m.linear(`${name}.${which}`, x), c.headDim); // [tokens, heads, headDim]
  const turned = (t: Tensor) => rope(t, m.positions, table, { interleaved: true });
  const [q, k, v] = [turned(project("q_proj")), turned(project("k_proj")), project("v_proj")];
  const out = m.attention(layer, q, k, v, { scale: 1 / Math.sqrt(c.headDim), window: 0 });
  return m.linear(`${name}.out_proj`, reshape(out, x.shape));
}

function mlp(m: ModelContext, c: GptJConfig, name: string, x: Tensor): Tensor {
  const up = activation(c.activation, m.linear(`${name}.fc_in`, x, { bias: true })); // [tokens, intermediate]
  return m.linear(`${name}.fc_out`, up, { bias: true });
}
