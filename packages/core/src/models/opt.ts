/**
 * OPT (Zhang et al. 2022, arXiv:2205.01068): learned positions that begin two rows into their table, norms before or after each block, embeddings of
 * another width than the layers. Names and config fields follow transformers' OPTForCausalLM.
 */
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import type { Tensor } from "../graph/graph.ts";
import { parseWith } from "../io/json.ts";
import { activationSchema } from "../nn/activation-name.ts";
import type { ModelContext } from "../nn/context.ts";
import { activation, type ActivationName, add, affineIds, reshape } from "../ops/index.ts";
import { layerNormParameters, linearParameters } from "./_parameters.ts";
import { defineModel, type ModelSizes } from "./model.ts";

const configSchema = z.looseObject({
  vocab_size: z.int().positive(),
  hidden_size: z.int().positive(),
  ffn_dim: z.int().positive(),
  num_hidden_layers: z.int().positive(),
  num_attention_heads: z.int().positive(),
  max_position_embeddings: z.int().positive().default(2048),
  word_embed_proj_dim: z.int().positive().nullish(),
  do_layer_norm_before: z.boolean().default(true),
  _remove_final_layer_norm: z.boolean().default(false),
  layer_norm_elementwise_affine: z.literal(true, "only layer norms with weights are supported").default(true),
  enable_bias: z.boolean().default(true),
  activation_function: activationSchema.default("relu"),
  tie_word_embeddings: z.boolean().default(true),
});

interface OptConfig extends ModelSizes {
  readonly intermediateSize: number;
  /** Columns of the embedding; where they are not hiddenSize, a projection stands on either side of the layers. */
  readonly embeddingSize: number;
  readonly normBefore: boolean;
  readonly finalNorm: boolean;
  readonly bias: boolean;
  readonly activation: ActivationName;
  readonly tied: boolean;
}

/** The first rows of the position table belong to nothing: position p is row p + 2. */
const POSITION_OFFSET = 2;
/** torch.nn.LayerNorm's default; the config has no field for it. */
const EPS = 1e-5;

export const opt = defineModel<OptConfig>({
  modelType: "opt",
  basePrefix: "model.",
  countsPadding: false,

  parseConfig(json, where) {
    const c = parseWith(configSchema, json, where);
    const { hidden_size: hiddenSize, num_attention_heads: heads } = c;
    if (hiddenSize % heads !== 0)
      throw new ConfigError(`${where}: hidden_size ${hiddenSize} is no multiple of num_attention_heads ${heads}`);
    return {
      vocabSize: c.vocab_size,
      hiddenSize,
      layers: c.num_hidden_layers,
      heads,
      kvHeads: heads,
      headDim: hiddenSize / heads,
      maxLength: c.max_position_embeddings,
      intermediateSize: c.ffn_dim,
      embeddingSize: c.word_embed_proj_dim ?? hiddenSize,
      normBefore: c.do_layer_norm_before,
      finalNorm: c.do_layer_norm_before && !c._remove_final_layer_norm,
      bias: c.enable_bias,
      activation: c.activation_function,
      tied: c.tie_word_embeddings,
    };
  },

  parameters(c) {
    const h = c.hiddenSize;
    const isProjected = c.embeddingSize !== h;
    return [
      { name: "model.decoder.embed_tokens.weight", shape: [c.vocabSize, c.embeddingSize] },
      { name: "model.decoder.embed_positions.weight", shape: [c.maxLength + POSITION_OFFSET, h] },
      ...(isProjected ? linearParameters("model.decoder.project_in", h, c.embeddingSize, { bias: false }) : []),
      ...(isProjected ? linearParameters("model.decoder.project_out", c.embeddingSize, h, { bias: false }) : []),
      ...Array.from({ length: c.layers }, (_, i) => `model.decoder.layers.${i}`).flatMap((layer) => [
        ...["k_proj", "v_proj", "q_proj", "out_proj"].flatMap((which) =>
          linearParameters(`${layer}.self_attn.${which}`, h, h, c),
        ),
        ...layerNormParameters(`${layer}.self_attn_layer_norm`, h),
        ...linearParameters(`${layer}.fc1`, c.intermediateSize, h, c),
        ...linearParameters(`${layer}.fc2`, h, c.intermediateSize, c),
        ...layerNormParameters(`${layer}.final_layer_norm`, h),
      ]),
      ...(c.finalNorm ? layerNormParameters("model.decoder.final_layer_norm", h) : []),
      ...(c.tied ? [] : linearParameters("lm_head", c.vocabSize, c.embeddingSize, { bias: false })),
    ];
  },

  isIgnored: (c, name) => c.tied && name === "lm_head.weight",

  hidden(m, c, ids) {
    const isProjected = c.embeddingSize !== c.hiddenSize;
    const words = m.embedding("model.decoder.embed_tokens", ids); // [tokens, embeddingSize]
    const places = m.embedding(
      "model.decoder.embed_positions",
      affineIds(m.positions, { scale: 1, offset: POSITION_OFFSET }),
    );
    const widened = isProjected ? m.linear("model.decoder.project_in", words) : words;
    let x = m.tap("layer_in.0", add(widened, places)); // [tokens, hidden]
    for (let i = 0; i < c.layers; i++) x = m.layer(i, () => layer(m, c, i, x));
    const normed = c.finalNorm ? m.layerNorm("model.decoder.final_layer_norm", x, EPS) : x;
    return m.tap("final_norm_out", isProjected ? m.linear("model.decoder.project_out", normed) : normed);
  },

  logits: (m, c, hidden) => m.linear("lm_head", hidden, { isHead: true, weight: headWeight(c) }),
  headWeight,

  tiny: [
    {
      vocab_size: 96,
      hidden_size: 32,
      ffn_dim: 48,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      max_position_embeddings: 128,
      word_embed_proj_dim: 32,
    },
    // As OPT-350M: norms after the blocks, narrower embeddings.
    {
      vocab_size: 96,
      hidden_size: 32,
      ffn_dim: 48,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      max_position_embeddings: 128,
      word_embed_proj_dim: 20,
      do_layer_norm_before: false,
    },
    {
      vocab_size: 96,
      hidden_size: 32,
      ffn_dim: 48,
      num_hidden_layers: 1,
      num_attention_heads: 4,
      max_position_embeddings: 128,
      word_embed_proj_dim: 32,
      _remove_final_layer_norm: true,
      enable_bias: false,
      activation_function: "gelu",
      tie_word_embeddings: false,
    },
  ],
});

function headWeight(c: OptConfig): string {
  return c.tied ? "model.decoder.embed_tokens.weight" : "lm_head.weight";
}

function layer(m: ModelContext, c: OptConfig, index: number, x: Tensor): Tensor {
  const name = `model.decoder.layers.${index}`;
  const norm = (which: string, t: Tensor) => m.layerNorm(`${name}.${which}`, t, EPS);
  const attention = (y: Tensor) => attend(m, c, index, y);
  const read = c.normBefore ? norm("self_attn_layer_norm", x) : x;
  const attended = add(x, m.branch(`${name}.self_attn`, "attention", read, attention, x));
  const between = c.normBefore ? attended : norm("self_attn_layer_norm", attended);
  const again = c.normBefore ? norm("final_layer_norm", between) : between;
  // The module tree has no MLP of its own: fc1 and fc2 stand in the layer.
  const out = add(
    between,
    m.branch(`${name}.mlp`, "mlp", again, (y) => mlp(m, c, name, y), between),
  );
  return c.normBefore ? out : norm("final_layer_norm", out);
}

function attend(m: ModelContext, c: OptConfig, index: number, x: Tensor): Tensor {
  const name = `model.decoder.layers.${index}.self_attn`;
  const project = (which: string) => m.heads(m.linear(`${name}.${which}`, x, { bias: c.bias }), c.headDim);
  const [q, k, v] = [project("q_proj"), project("k_proj"), project("v_proj")]; // [tokens, heads, headDim]
  const out = m.attention(index, q, k, v, { scale: 1 / Math.sqrt(c.headDim), window: 0 });
  return m.linear(`${name}.out_proj`, reshape(out, x.shape), { bias: c.bias });
}

function mlp(m: ModelContext, c: OptConfig, name: string, x: Tensor): Tensor {
  const up = activation(c.activation, m.linear(`${name}.fc1`, x, { bias: c.bias })); // [tokens, intermediate]
  return m.linear(`${name}.fc2`, up, { bias: c.bias });
}
