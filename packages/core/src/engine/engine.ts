/** The engine as its callers see it: one frozen base, any number of adapters, requests that join and leave at any token. */
import type { Constraint } from "../generate/constraint.ts";
import type { FinishReason, GenerateOptions } from "../generate/language-model.ts";

export interface EngineRequest extends GenerateOptions {
  readonly requestId: string;
  /** Token ids; callers encode. */
  readonly promptIds: readonly number[];
  /** Name of an adapter; undefined: the base alone. Resolved to a version when the request arrives. */
  readonly adapter?: string;
  /** Number of top alternatives to report per token; undefined: no log-probabilities at all. */
  readonly logprobs?: number;
  /** Report the prompt's own log-probabilities too (OpenAI's echo + logprobs). */
  readonly promptLogprobs?: boolean;
  /** Milliseconds from arrival after which the request fails with DeadlineExceeded. */
  readonly deadlineMs?: number;
  /** What the new tokens must follow. */
  readonly constraint?: Constraint;
}

export interface TokenLogprob {
  readonly id: number;
  readonly logprob: number;
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export type EngineEvent =
  | { readonly type: "prompt"; readonly logprobs: readonly (TokenLogprob | null)[] }
  | { readonly type: "token"; readonly id: number; readonly text: string; readonly logprob?: TokenLogprob }
  | {
      readonly type: "finish";
      readonly reason: FinishReason;
      /** What was held back while a stop text might still have begun. */
      readonly text: string;
      readonly adapterVersion?: string;
      /** Of the prompt, tokens whose keys and values came from the prefix cache. */
      readonly cachedTokens: number;
      /** Of the end token, where log-probabilities were asked for and it ended the text. */
      readonly logprob?: TokenLogprob;
    };

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
  /** It stays on the device. */
  readonly isPinned: boolean;
  /** Where its values are nearest to the device. */
  readonly tier: "disk" | "host" | "device";
}

export interface EngineInfo {
  readonly modelPath: string;
  readonly modelType: string;
  readonly vocabSize: number;
  readonly maxLength: number;
  readonly eosTokenIds: readonly number[];
  readonly device: string;
  /** The base's weights on the device. */
  readonly weightsBytes: number;
  /** The key-value cache. */
  readonly kvBytes: number;
}

export interface AdapterStats {
  readonly running: number;
  readonly waiting: number;
  /** Since the start. */
  readonly generatedTokens: number;
}

/** What is there now, and counts since the start. */
export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  /** Prompts of the waiting requests and what these ask for. */
  readonly waitingTokens: number;
  /** Held by requests. */
  readonly kvPagesUsed: number;
  /** Kept by the prefix cache and free to take. */
  readonly kvPagesCached: number;
  readonly kvPagesTotal: number;
  readonly adapters: number;
  readonly adaptersOnDevice: number;
  readonly adapterBytesOnDevice: number;
  readonly adapterBytesOnHost: number;
  readonly generatedTokens: number;
  /** Of requests that began to run. */
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  /** Requests that gave way to others when pages ran out, and went on later. */
  readonly preemptions: number;
  readonly trainingTurns: number;
  readonly trainingSteps: number;
  readonly trainingTokens: number;
  /** By name of the adapter, "" the base: those that were asked for since the start. */
  readonly byAdapter: Readonly<Record<string, AdapterStats>>;
  /** All buffers on the device. */
  readonly deviceBytes: number;
}

export interface Engine {
  readonly info: EngineInfo;
  /**
   * Aborting the signal ends the request at once with reason "abort" and frees its pages. Throws UnknownName for an unknown adapter, DataError for a prompt that does not fit,
   * ConfigError for a constraint that cannot be kept, EngineBusy where too much waits, DeadlineExceeded, and what loading its adapter throws.
   */
  generate(request: EngineRequest, signal?: AbortSignal): AsyncIterable<EngineEvent>;
  /**
   * Reads and checks a PEFT folder, then points `name` at it; it comes to the device when a request needs it. Requests in flight finish on the version they began with. A failed load
   * changes nothing.
   */
  loadAdapter(name: string, path: string, options?: { readonly isPinned?: boolean }): Promise<AdapterInfo>;
  /** New requests no longer find it; freed when its last request ends. Throws UnknownName. */
  unloadAdapter(name: string): Promise<void>;
  adapters(): readonly AdapterInfo[];
  adapter(name: string): AdapterInfo | undefined;
  stats(): Promise<EngineStats>;
  close(): Promise<void>;
}

/** An engine in the process that owns the device. */
export interface DeviceEngine extends Engine {
  /** Points `name` at a version that was checked before, without reading it: that is done at first use. Throws ConfigError where the pinned ones would exceed the budget. */
  registerAdapter(info: Omit<AdapterInfo, "tier">): AdapterInfo;
  /** Throws UnknownName, or ConfigError where the pinned ones would exceed the budget. */
  pinAdapter(name: string, isPinned: boolean): AdapterInfo;
  /** Versions that a name points at or a request holds: their files may still have to be read. */
  keptVersions(): readonly string[];
  /** Runs work on the device between passes, when the latency target allows it. Rejects with an AbortError if the engine closes before its turn comes. */
  turn<T>(work: () => Promise<T>): Promise<T>;
  /** Adds to the counts of training in stats(). */
  countTraining(done: { readonly steps: number; readonly tokens: number }): void;
}
