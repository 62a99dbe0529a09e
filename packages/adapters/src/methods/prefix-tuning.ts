/**
 * Prefix tuning (Li & Liang 2021, arXiv:2101.00190): keys and values of virtual tokens before the sequence, at every attention, trained as they are or, with
 * prefix_projection, as the output of a perceptron on one embedding for each token. They are neither rotated nor projected.
 */
import { reshape, selectRows, slice, transpose } from "@graft/core/ops";
import type { Tensor } from "@graft/core/graph";
import { type Hooks, virtualRows } from "@graft/core/nn";
import { z } from "zod";
import { type Base, defineMethod } from "../method.ts";
import { constant, normal } from "../starts.ts";
import { encoderOf, perceptron } from "./_prompt-encoder.ts";
import { bindPrompt, checkPromptLearning, keyValueFields, promptLearningFields } from "./_prompt-learning.ts";

const prefixConfig = z.looseObject({
  ...promptLearningFields,
  prefix_projection: z.boolean().default(false),
  /** Width of the perceptron; default token_dim. */
  encoder_hidden_size: z.int().min(1).nullish(),
  init_weights: z.literal("zero").nullish(),
});
type PrefixConfig = z.output<typeof prefixConfig>;

export const prefixTuning = defineMethod<PrefixConfig>({
  name: "prefix-tuning",
  peftType: "PREFIX_TUNING",
  tiny: { num_virtual_tokens: 3 },
  sizeFields: ["num_virtual_tokens"],
  config: prefixConfig,
  trainingDefaults: { num_virtual_tokens: 30 },
  complete(base) {
    const fields = keyValueFields(base);
    // auto_mapping tells readers, this one included, that the layout is not the fork's.
    return { ...fields, encoder_hidden_size: fields.token_dim, auto_mapping: null };
  },
  bind(config, base, where, _origin, shapeInFile) {
    const fields = keyValueFields(base);
    checkPromptLearning(config, fields, base, where);
    const { num_virtual_tokens: n, init_weights, encoder_hidden_size, prefix_projection } = config;
    const { token_dim: dim, num_layers: layers } = fields;
    const shape = [n, 2 * layers * dim] as const;
    const startsAtZero = init_weights === "zero";
    const start = startsAtZero ? constant(0, shape) : normal(1, shape);
    return bindPrompt(
      {
        method: "prefix-tuning",
        shape,
        start: async (random) => start.init(random),
        encoder: prefix_projection
          ? encoderOf(n, dim, [
              perceptron("transform", [dim, encoder_hidden_size ?? dim, shape[1]], "tanh", { startsAtZero }),
            ])
          : undefined,
        hooks: (table) => prefixHooks(table, layoutOf(config, base), layers),
      },
      shapeInFile,
    );
  },
});

/** Keys and values of the virtual tokens in one layer, each [n, dim], from the table [n, 2 layers dim]. */
type Layout = (table: Tensor, layer: number, layers: number) => { readonly keys: Tensor; readonly values: Tensor };

/** Slot i of the table: [n, dim]. */
function slot(table: Tensor, i: number, layers: number): Tensor {
  const dim = table.shape[1]! / (2 * layers);
  return slice(table, 1, i * dim, dim);
}

/** Layer i has slots 2i and 2i + 1. */
const paired: Layout = (table, layer, layers) => ({
  keys: slot(table, 2 * layer, layers),
  values: slot(table, 2 * layer + 1, layers),
});

/**
 * The fork on BLOOM: layer i has slots i and layers + i, and the keys' numbers, written [n, heads, headDim], are read as [heads, headDim, n] (its
 * bloom_model_postprocess_past_key_value exchanges heads and tokens where the cache of that time wanted tokens and headDim exchanged).
 */
const forkBloom: Layout = (table, layer, layers) => {
  const keys = slot(table, layer, layers);
  return {
    keys: transpose(reshape(keys, keys.shape.toReversed())),
    values: slot(table, layers + layer, layers),
  };
};

/** Only PEFT writes auto_mapping, since 0.4: a file without it is the fork's, or of the PEFT that it was made from. */
function layoutOf(config: PrefixConfig, base: Base): Layout {
  const isForks = !("auto_mapping" in config);
  return isForks && base.modelType === "bloom" ? forkBloom : paired;
}

function prefixHooks(table: Tensor, layout: Layout, layers: number): Hooks {
  let rows: Tensor | undefined;
  return {
    keysValues(layer, k, v, ids) {
      rows ??= virtualRows(ids);
      const { keys, values } = layout(table, layer, layers);
      const replaced = (x: Tensor, own: Tensor): Tensor => {
        const flat = reshape(x, [x.shape[0]!, own.shape[1]!]); // [tokens, kvHeads * headDim]
        return reshape(selectRows(flat, own, rows!), x.shape);
      };
      return { k: replaced(k, keys), v: replaced(v, values) };
    },
  };
}
