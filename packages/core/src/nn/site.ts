/** Sites: the named places of a model where something may attach. Core says where they are; it does not know what attaches. */
import type { Tensor } from "../graph/graph.ts";

/** A linear layer y = x W^T + b. Its name is the Hugging Face module path. */
export interface LinearSite {
  readonly kind: "linear";
  readonly name: string;
  /** Checkpoint name of its weight: NAME.weight, or another module's where the two are tied. */
  readonly weight: string;
  readonly inDim: number;
  readonly outDim: number;
  /** The weight is stored [in, out] (GPT-2's Conv1D) instead of [out, in]. */
  readonly fanInFanOut: boolean;
  readonly hasBias: boolean;
  /** The output layer over the vocabulary; PEFT's "all-linear" leaves it out. */
  readonly isHead: boolean;
  /** Index of the decoder layer it belongs to. */
  readonly layer: number | undefined;
}

export interface EmbeddingSite {
  readonly kind: "embedding";
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly layer: undefined;
}

/** One whole residual block of a decoder layer: attention or MLP, from its normed input to its output before that is added to the residual stream. */
export interface BranchSite {
  readonly kind: "branch";
  readonly branch: "attention" | "mlp";
  /** Module path: `model.layers.0.mlp`. */
  readonly name: string;
  /** Columns of its input and of its output. */
  readonly width: number;
  readonly layer: number | undefined;
}

/** A module with a weight of its own. */
export type ModuleSite = LinearSite | EmbeddingSite;
export type Site = ModuleSite | BranchSite;

/** What an attached adapter may change. Core calls these where they are given; several adapters nest, the first is the innermost. */
export interface Hooks {
  /** Wraps a linear layer: `f` is the layer without this adapter (bias included), `weight` its stored weight. */
  linear?(site: LinearSite, x: Tensor, f: (x: Tensor) => Tensor, weight: Tensor): Tensor;
  /** Wraps an embedding: ids [tokens] to [tokens, columns]. */
  embedding?(site: EmbeddingSite, ids: Tensor, f: (ids: Tensor) => Tensor): Tensor;
  /** Wraps a block: `f` gives from the normed input [tokens, width] what is added to `residual`, the stream as it enters the block, [tokens, width]. */
  branch?(site: BranchSite, x: Tensor, f: (x: Tensor) => Tensor, residual: Tensor): Tensor;
  /** Replaces keys and values, [tokens, kvHeads, headDim], as attention is about to see them: after rotary and whatever else the model does. ids: [tokens]. */
  keysValues?(layer: number, k: Tensor, v: Tensor, ids: Tensor): { readonly k: Tensor; readonly v: Tensor };
  /**
   * Replaces a whole parameter of one module (modules_to_save, trained biases); undefined leaves it. `name` is the module's path and part, `stored` the tensor
   * of the checkpoint, which two modules share where they are tied.
   */
  parameter?(name: string, stored: string): Tensor | undefined;
}
