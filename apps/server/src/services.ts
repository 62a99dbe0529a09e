/** What the routes work with. Tests pass their own. */
import type { EngineEvent, EngineRequest } from "@graft/core/engine";
import type { Tokenizer } from "@graft/core/text";
import type { Logger } from "pino";
import type { Base } from "@graft/adapters";
import type { AdapterShelf } from "./adapter-shelf.ts";
import type { Blobs, Store } from "./db/index.ts";
import type { JobRunner } from "./jobs/job-runner.ts";
import type { Metrics } from "./metrics.ts";
import type { EngineProcess } from "./worker/engine-process.ts";

export interface Services {
  readonly engine: EngineProcess;
  /** The engine's generate(), with its times observed. */
  readonly generate: (request: EngineRequest, signal?: AbortSignal) => AsyncIterable<EngineEvent>;
  /** The base as adapters see it, from its files: nothing here touches the device. */
  readonly base: Base;
  readonly tokenizer: Tokenizer;
  readonly store: Store;
  /** Bytes of files and adapters. */
  readonly blobs: Blobs;
  readonly shelf: AdapterShelf;
  readonly jobs: JobRunner;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly settings: ServerSettings;
  readonly startedAt: Date;
  readonly now: () => Date;
  readonly newId: (prefix: string) => string;
}

export interface ServerSettings {
  /** Name the base answers to. */
  readonly modelName: string;
  /** A key with every scope that is in no database. */
  readonly apiKey: string | undefined;
  /** Bytes of a request body at the most; of an upload. */
  readonly bodyLimit: number;
  readonly uploadLimit: number;
  /** How long a body may take to arrive. */
  readonly bodyTimeoutMs: number;
  /** Folders from which adapters may be loaded by path. */
  readonly adapterRoots: readonly string[];
  /** Origins of pages that may call; none by default. */
  readonly corsOrigins: readonly string[];
}
