/** What a model is: a config schema, a list of parameters, and a forward pass. One file for each `model_type`. */
import type { Tensor } from "../graph/graph.ts";
import type { ModelContext, ParameterSpec } from "../nn/context.ts";

/** What shared code needs to know of every architecture. */
export interface ModelSizes {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** The longest sequence. */
  readonly maxLength: number;
}

export interface ModelDefinition<C extends ModelSizes = ModelSizes> {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Begins the names of what is not the output layer. Checkpoints of the model without an output layer leave it out. */
  readonly basePrefix: string;
  /**
   * Without position ids transformers numbers the tokens of a row from 0, padding included; false where it takes positions from the attention mask. Training and
   * generation here never count padding; to compare with the reference's plain forward pass one must.
   */
  readonly countsPadding: boolean;
  /** config.json of transformers 4.x or 5.x to sizes and switches. `where` begins error messages. */
  parseConfig(json: unknown, where: string): C;
  /** Every parameter, by its name in the checkpoint. */
  parameters(config: C): readonly ParameterSpec[];
  /** Checkpoint tensors that are known and not used (a tied head that is stored as well, old buffers). */
  isIgnored(config: C, name: string): boolean;
  /** ids [tokens] to hidden states after the final norm [tokens, hiddenSize]. */
  hidden(m: ModelContext, config: C, ids: Tensor): Tensor;
  /** Hidden states to logits [tokens, vocabSize]. */
  logits(m: ModelContext, config: C, hidden: Tensor): Tensor;
  /** The tensor that `logits` multiplies with, [vocabSize, hiddenSize], if that is all it does; then the loss needs no logits. */
  headWeight(config: C): string | undefined;
  /** Very small configs, with what a config of this architecture may say: the tests run over them. Each is a config.json without its model_type. */
  readonly tiny: readonly object[];
}

export function defineModel<C extends ModelSizes>(definition: ModelDefinition<C>): ModelDefinition<C> {
  return definition;
}
