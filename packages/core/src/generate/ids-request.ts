/** Requests over token ids, and what comes of them. */
import type { AdapterWeights } from "../nn/index.ts";
import type { FinishReason, GenerateOptions } from "./language-model.ts";

export interface IdsRequest extends GenerateOptions {
  readonly promptIds: readonly number[];
  /** What errors call it; its number where it has none. */
  readonly name?: string | undefined;
  /** Its own adapter, or undefined for none, in place of the call's. */
  readonly adapter?: AdapterWeights | undefined;
  /** Also gives the log-probability of each new token. */
  readonly logprobs?: boolean;
  /**
   * Text ends generation: called after each token with all new ids of a sequence and its number among those of the request; true stops. Beam search does not ask.
   */
  readonly shouldStop?: (newIds: readonly number[], sequence: number) => boolean;
}

export interface IdsSequence {
  readonly ids: readonly number[];
  readonly finishReason: FinishReason;
  readonly logprobs?: readonly number[];
  readonly score?: number;
}

/** A request as it runs: the ids of its virtual tokens stand before the prompt's. */
export interface OwnedRequest extends IdsRequest {
  readonly index: number;
  readonly adapter: AdapterWeights | undefined;
  readonly eos: ReadonlySet<number>;
}
