/** What evaluation and serving see of a model: text and numbers, never a tensor. */

/** How to continue a prompt. Names and defaults follow transformers' GenerationConfig. */
export interface GenerateOptions {
  /** New tokens at the most, prompt not counted. */
  readonly maxNewTokens: number;
  /** 0 means greedy. */
  readonly temperature?: number;
  /** 0 or undefined: no limit. */
  readonly topK?: number;
  /** 1 or undefined: no limit. */
  readonly topP?: number;
  readonly minP?: number;
  readonly typicalP?: number;
  readonly repetitionPenalty?: number;
  readonly noRepeatNgramSize?: number;
  /** OpenAI's: lowers a token's score by this for each time it was generated; the prompt does not count. */
  readonly frequencyPenalty?: number;
  /** OpenAI's: lowers a token's score by this once it was generated. */
  readonly presencePenalty?: number;
  /** Added to the scores of these ids before anything else; -100 and 100 all but forbid and force a token. */
  readonly logitBias?: Readonly<Record<number, number>>;
  /** Beams of beam search; 1 or undefined: none. Not together with sampling. */
  readonly numBeams?: number;
  readonly lengthPenalty?: number;
  readonly earlyStopping?: boolean;
  /** Sequences returned per prompt; with beams at most numBeams. */
  readonly numReturnSequences?: number;
  /** Seed of sampling. The same seed gives the same tokens whoever else is in the batch. */
  readonly seed?: number;
  /** Generation ends before the first of these texts; the text itself is not returned. */
  readonly stop?: readonly string[];
  /** Replaces the model's own end tokens; an empty list disables them. */
  readonly eosTokenIds?: readonly number[];
}

export interface GenerateRequest extends GenerateOptions {
  /** Text is encoded with the tokenizer's special tokens; ids are taken as they are. */
  readonly prompt: string | readonly number[];
  /** "left": a prompt that leaves no room for maxNewTokens loses tokens at its beginning, as in lm-evaluation-harness; default: an error. */
  readonly truncation?: "left";
  /** What errors call it; its number where it has none. */
  readonly name?: string | undefined;
}

export type FinishReason = "stop" | "length" | "abort";

export interface GeneratedSequence {
  /** New tokens only. */
  readonly ids: readonly number[];
  readonly text: string;
  readonly finishReason: FinishReason;
  /** Natural-log probability of each new token under the unmodified distribution, when asked for. */
  readonly logprobs?: readonly number[];
  /** Score of beam search: sum of log-probabilities over length ** lengthPenalty. */
  readonly score?: number;
}

export interface GenerateResult {
  /** What was computed: without what was cut. */
  readonly promptIds: readonly number[];
  /** Tokens cut from the beginning of the prompt. */
  readonly cutTokens: number;
  readonly sequences: readonly GeneratedSequence[];
}

export interface LoglikelihoodRequest {
  /** Empty: the continuation follows the beginning-of-sequence token. */
  readonly context: string;
  readonly continuation: string;
  /** "left": a pair that is too long loses tokens at its beginning, of the context and then of the continuation; default: an error. */
  readonly truncation?: "left";
  /** What errors call it; its number where it has none. */
  readonly name?: string | undefined;
}

export interface LoglikelihoodResult {
  /** Sum over the continuation's tokens of ln p(token | everything before), in nats. */
  readonly logprob: number;
  readonly tokenCount: number;
  /** True if greedy decoding would have produced the continuation. */
  readonly isGreedy: boolean;
  /** Tokens cut from the beginning. */
  readonly cutTokens: number;
}

/** A frozen model with or without adapters. Results come in the order of the requests, whatever the batching; onResult as each is done, with its number. */
export interface LanguageModel {
  /** For reports: model folder or hub name, adapter, dtype. */
  readonly name: string;
  generate(
    requests: readonly GenerateRequest[],
    options?: { signal?: AbortSignal; onResult?: (index: number, result: GenerateResult) => void },
  ): Promise<GenerateResult[]>;
  loglikelihood(
    requests: readonly LoglikelihoodRequest[],
    options?: { signal?: AbortSignal; onResult?: (index: number, result: LoglikelihoodResult) => void },
  ): Promise<LoglikelihoodResult[]>;
}
