/**
 * GPT-Neo (Black et al. 2021): learned positions, layers that see all keys or only a window of them, scores without a scale. Names and config fields
 * follow transformers' GPTNeoForCausalLM.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { activationSchema } from "../nn/activation-name.ts";
import type { ModelContext } from "../nn/context.ts";
import { activation, type ActivationName, add, reshape } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const kind = z.enum(["global", "local"]);
const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  hidden_size: z.int().positive(),
  num_layers: z.int().positive(),
  num_heads: z.int().positive(),
  intermediate_size: z.int().positive().nullish(),
  max_position_embeddings: z.int().positive().default(2048),
  attention_types: z.array(z.tuple([z.array(kind), z.int().positive()])).default([[["global", "local"], 12]]),
  window_size: z.int().positive().default(256),
  activation_function: activationSchema.default("gelu_tanh"),
  layer_norm_epsilon: z.number().positive().default(1e-5),
  tie_word_embeddings: z.boolean().default(true),
});

interface GptNeoConfig extends ModelSizes {
  readonly intermediateSize: number;
  readonly eps: number;
  readonly activation: ActivationName;
  /** Keys that a query of each layer sees, itself included; 0: all. */
  readonly windows: readonly number[];
  readonly tied: boolean;
}

export const gptNeo = defineModel<GptNeoConfig>({
  modelType: "gpt_neo",
  basePrefix: "transformer.",
  countsPadding: true,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    if (c.hidden_size % c.num_heads !== 0)
      throw new ConfigError(`${where}: hidden_size ${c.hidden_size} is no multiple of num_heads ${c.num_heads}`);
    const kinds = c.attention_types.flatMap(([pattern, times]) => Array.from({ length: times }, () => pattern).flat());
    if (kinds.length !== c.num_layers)
      throw new ConfigError(
        `${where}: attention_types describe ${kinds.length} layers, num_layers says ${c.num_layers}`,
      );
    return {
      vocabSize: c.vocab_size,
      hiddenSize: c.hidden_size,
      layers: c.num_layers,
      heads: c.num_heads,
      kvHeads: c.num_heads,
      headDim: c.hidden_size / c.num_heads,
      maxLength: c.max_position_embeddings,
      intermediateSize: c.intermediate_size ?? 4 * c.hidden_size,
      eps: c.layer_norm_epsilon,
      activation: c.activation_function,
      windows: kinds.map((one) => (one === "local" ? c.window_size : 0)),
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
        ...["k_proj", "v_proj", "q_proj"].flatMap((which) =>
          linearParameters(`${layer}.attn.attention.${which}`, h, h, { bias: false }),
        ),
        ...linearParameters(`${layer}.attn.attention.out_proj`, h, h, { bias: true }),
        ...layerNormParameters(`${layer}.ln_2`, h),
        ...linearParameters(`${layer}.mlp.c_fc`, c.intermediateSize, h, { bias: true }),
        ...linearParameters(`${layer}.mlp.c_proj`, h, c.intermediateSize, { bias: true }),
      ]),
      ...layerNormParameters("transformer.ln_f", h),
      ...(c.tied ? [] : linearParameters("lm_head", c.vocabSize, h, { bias: false })),
    ];
  },

  // Older files carry the causal mask.
  isIgnored: (c, name) => (c.tied && name === "lm_head.weight") || /\.attn\.attention\.(bias|masked_bias)$/.test(name),

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
    {
      vocab_size: 96,
      hidden_size: 32,
      num_layers: 2,
      num_heads: 4,
      max_position_embeddings: 128,
      attention_types: [[["global", "local"], 1]],
      window_size: 5,
    },
    {
      vocab_size: 96,
      hidden_size: 32,
      num_layers: 3,
      num_heads: 4,
      intermediate_size: 40,
      max_position_embeddings: 128,
      attention_types: [
        [["local"], 1],
        [["global"], 2],
      ],
      window_size: 3,
      tie_word_embeddings: false,
    },
  ],
});

function headWeight(c: GptNeoConfig): string {
  return c.tied ? "transformer.wte.weight" : "lm_head.weight";
}

function attend(m: ModelContext, c: GptNeoConfig, layer: number, x: Tensor): Tensor {
  const name = `transformer.h.${layer}.attn.attention`;
  const project = (which: string) => m.heads(m.linear(`${name}.${which}`, x), c.headDim); // [tokens, heads, headDim]
  const [q, k, v] = [project("q_proj"), project("k_proj"), project("v_proj")];
  const out = m.attention(layer, q, k, v, { scale: 1, window: c.windows[layer]! });
  return m.linear(`${name}.out_proj`, reshape(out, x.shape), { bias: true });
}

function mlp(m: ModelContext, c: GptNeoConfig, name: string, x: Tensor): Tensor {
  const up = activation(c.activation, m.linear(`${name}.c_fc`, x, { bias: true })); // [tokens, intermediate]
  return m.linear(`${name}.c_proj`, up, { bias: true });
}
