/**
 * What the prompt-learning methods share: a table with a row for each virtual token, trained as it is or as the output of an encoder. PEFT saves the table
 * alone, as `prompt_embeddings`.
 */
import { CheckpointError, ConfigError } from "@graft/core/errors";
import { Graph, interpret, type Tensor } from "@graft/core/graph";
import type { Hooks } from "@graft/core/nn";
import type { Random } from "@graft/core/random";
import { z } from "zod";
import type { Base, BoundMethod, ShapeInFile } from "../method.ts";
import type { Start } from "../starts.ts";

/** The name of the table in files. */
const TABLE = "prompt_embeddings";

const virtualTokens = "must be a positive integer, the number of virtual tokens";
/** Fields of PEFT's that every method here has; those that the base decides may be left out. */
export const promptLearningFields = {
  num_virtual_tokens: z.int(virtualTokens).min(1, virtualTokens),
  token_dim: z.int().nullish(),
  num_layers: z.int().nullish(),
  num_attention_heads: z.int().nullish(),
  num_transformer_submodules: z.int().nullish(),
  modules_to_save: z.array(z.string()).nullish(),
};
type PromptLearningConfig = z.output<z.ZodObject<typeof promptLearningFields>>;

/** What a config says of its base, with what PEFT writes into every new one. */
interface BaseFields {
  readonly token_dim: number;
  readonly num_layers: number;
  readonly num_attention_heads: number;
  readonly num_transformer_submodules: 1;
}

/** Sizes as PEFT takes them for methods that make embeddings. */
export function embeddingFields(base: Base): BaseFields {
  const { layers, heads } = base.sizes;
  return {
    token_dim: tokenEmbedding(base).columns,
    num_layers: layers,
    num_attention_heads: heads,
    num_transformer_submodules: 1,
  };
}

/** The same for methods that make keys and values: those of the key-value heads. */
export function keyValueFields(base: Base): BaseFields {
  const { layers, kvHeads, headDim } = base.sizes;
  return {
    token_dim: kvHeads * headDim,
    num_layers: layers,
    num_attention_heads: kvHeads,
    num_transformer_submodules: 1,
  };
}

/** The embedding of the vocabulary; others, of positions, have other rows. */
export function tokenEmbedding(base: Base) {
  const found = base.sites.find((site) => site.kind === "embedding" && site.rows === base.sizes.vocabSize);
  if (found?.kind !== "embedding") throw new ConfigError(`${base.modelType}: has no embedding of its vocabulary`);
  return found;
}

/** Throws ConfigError, beginning with `where`, for an adapter of another base, more virtual tokens than the base has positions, or modules_to_save. */
export function checkPromptLearning(config: PromptLearningConfig, fields: BaseFields, base: Base, where: string): void {
  for (const field of Object.keys(fields) as (keyof BaseFields)[]) {
    const given = config[field] ?? fields[field];
    if (given !== fields[field])
      throw new ConfigError(
        `${where}: ${field} is ${given}, this ${base.modelType} needs ${fields[field]}; is the adapter for another base?`,
      );
  }
  const { maxLength } = base.sizes;
  if (config.num_virtual_tokens >= maxLength) {
    throw new ConfigError(
      `${where}: num_virtual_tokens ${config.num_virtual_tokens} leaves no room for text, the base holds ${maxLength} tokens; take fewer`,
    );
  }
  if ((config.modules_to_save?.length ?? 0) > 0)
    throw new ConfigError(`${where}: modules_to_save is not supported together with virtual tokens`);
}

/** A parameter of an encoder, with how it begins. */
export interface EncoderParameter extends Start {
  readonly key: string;
}

/** A small network whose output is the table. */
export interface PromptEncoder {
  readonly parameters: readonly EncoderParameter[];
  /** The table [n, width]; `seed` is there in training. */
  table(parameter: (key: string) => Tensor, seed: Tensor | undefined): Tensor;
}

export interface PromptMethod {
  readonly method: string;
  /** Virtual tokens, and columns of the table. */
  readonly shape: readonly [number, number];
  /** How the table begins where there is no encoder. */
  readonly start: (random: Random) => Promise<Float32Array>;
  readonly encoder: PromptEncoder | undefined;
  /** What the table does. */
  readonly hooks: (table: Tensor) => Hooks;
}

/** With its encoder, unless the file that is read has the table alone (`shapeInFile`): for use one needs no more. */
export function bindPrompt(prompt: PromptMethod, shapeInFile: ShapeInFile | undefined): BoundMethod {
  const { method, shape, encoder } = prompt;
  const common = {
    method,
    virtualTokens: shape[0],
    startsAsIdentity: false,
    merge: { impossible: "virtual tokens change no weight; load the adapter beside its base instead" },
    savedBase: [],
  };
  const plain: BoundMethod = {
    ...common,
    parameters: [{ key: TABLE, shape, trainable: true }],
    initialise: async (random) => new Map([[TABLE, await prompt.start(random)]]),
    hooks: ({ parameter }) => prompt.hooks(parameter(TABLE)),
  };
  const hasEncoder = encoder?.parameters.some(({ key }) => shapeInFile?.(key)) ?? false;
  if (!encoder || (shapeInFile && !hasEncoder)) return plain;
  return {
    ...common,
    parameters: encoder.parameters.map(({ key, shape: own }) => ({ key, shape: own, trainable: true })),
    initialise: async (random) => new Map(encoder.parameters.map(({ key, init }) => [key, init(random)])),
    hooks: ({ parameter, seed }) => prompt.hooks(encoder.table(parameter, seed)),
    toPlain: (values) => ({ config: {}, values: new Map([[TABLE, encode(encoder, values)]]), bound: plain }),
  };
}

/** The table that an encoder makes of its parameters, on the host: the graph that training differentiates, in double precision. */
function encode(encoder: PromptEncoder, values: ReadonlyMap<string, Float32Array>): Float32Array {
  const graph = new Graph();
  const shapes = new Map(encoder.parameters.map(({ key, shape }) => [key, shape]));
  const table = encoder.table((key) => graph.param(key, shapes.get(key)!), undefined);
  const params = Object.fromEntries(
    encoder.parameters.map(({ key }) => {
      const own = values.get(key);
      if (!own) throw new CheckpointError(`${key}: no values are given for this adapter tensor`);
      return [key, new Float64Array(own)];
    }),
  );
  return Float32Array.from(interpret(graph, [table], { params })[0]!);
}
