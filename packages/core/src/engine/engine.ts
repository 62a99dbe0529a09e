/** The engine as its callers see it: one frozen base, any number of adapters, requests that join and leave at any token. */
import type { FinishReason, GenerateOptions } from "../generate/language-model.ts";

export interface EngineRequest extends GenerateOptions {
  readonly requestId: string;
  /** Token ids; callers encode. */
  readonly promptIds: readonly number[];
  /** Name of a loaded adapter; undefined: the base alone. Resolved to a version when the request is admitted. */
  readonly adapter?: string;
  /** Number of top alternatives to report per token; undefined: no log-probabilities at all. */
  readonly logprobs?: number;
  /** Report the prompt's own log-probabilities too (OpenAI's echo + logprobs). */
  readonly promptLogprobs?: boolean;
}

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export type EngineEvent =
  | { readonly type: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | { readonly type: "token"; readonly id: number; readonly text: string; readonly logprob?: TokenLogprob }
  /** `text` is what was held back while a stop text might still have begun. */
  | { readonly type: "finish"; readonly reason: FinishReason; readonly text: string; readonly adapterVersion?: string };

export interface AdapterInfo {
  readonly name: string;
  /** Hash of the adapter's files: two loads of the same bytes are the same version. */
  readonly version: string;
  readonly path: string;
  readonly method: string;
  readonly parameters: number;
  readonly bytes: number;
  /** Positions it takes of each sequence. */
  readonly virtualTokens: number;
}

export interface EngineInfo {
  readonly modelPath: string;
  readonly modelType: string;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly eosTokenIds: readonly number[];
  readonly device: string;
}

export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  readonly kvPagesUsed: number;
  readonly kvPagesTotal: number;
  readonly adapters: number;
  readonly generatedTokens: number;
  readonly promptTokens: number;
}

export interface Engine {
  readonly info: EngineInfo;
  /** Aborting the signal ends the request at once with reason "abort" and frees its pages. Throws UnknownName for an unknown adapter, DataError for a prompt that does not fit. */
  generate(request: EngineRequest, signal?: AbortSignal): AsyncIterable<EngineEvent>;
  /** Loads a PEFT folder and points `name` at it. Requests in flight finish on the version they began with. A failed load changes nothing. */
  loadAdapter(name: string, path: string): Promise<AdapterInfo>;
  /** New requests no longer find it; freed when its last request ends. Throws UnknownName. */
  unloadAdapter(name: string): Promise<void>;
  adapters(): readonly AdapterInfo[];
  stats(): Promise<EngineStats>;
  close(): Promise<void>;
}
