/** A running server: engine, database, jobs and HTTP put together. */
import { openBaseFolder } from "@graft/adapters";
import { ConfigError } from "@graft/core/errors";
import { loadTokenizer } from "@graft/core/text";
import { randomUUID } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Logger, pino } from "pino";
import { createAdapterShelf } from "./adapter-shelf.ts";
import { adapterFolderUse } from "./adapters/folder-use.ts";
import { createApp } from "./app.ts";
import { databaseName, lockData, openBlobs, openStore } from "./db/index.ts";
import { JobRunner } from "./jobs/job-runner.ts";
import { createMetrics } from "./metrics.ts";
import type { Services } from "./services.ts";
import { EngineProcess } from "./worker/engine-process.ts";
import type { EngineOptions } from "./worker/protocol.ts";

/** The device is opened by the engine's process: nothing here touches it. */
export interface ServeOptions extends EngineOptions {
  /** Folders by name, to be loaded and published at the start. */
  readonly adapters: Readonly<Record<string, string>>;
  readonly servedModelName: string;
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Folder of the database and of files; undefined keeps nothing. */
  readonly dataDir: string | undefined;
  /** Of a Postgres server, in place of the database in dataDir. */
  readonly databaseUrl?: string | undefined;
  readonly apiKey: string | undefined;
  /** Folders from which adapters may be loaded by path, besides the data directory. */
  readonly adapterRoots?: readonly string[];
  readonly corsOrigins?: readonly string[];
  /** Fine-tuning jobs that train at once; default 1. */
  readonly maxJobs?: number;
  /** Bytes of an uploaded file; default 512 MiB. */
  readonly uploadLimit?: number;
  /** How long the body of a request may take to arrive; default 60 s. */
  readonly bodyTimeoutMs?: number;
  /** What a person should know. */
  readonly log: (line: string) => void;
  /** Structured lines: each request, what went wrong. */
  readonly logger?: Logger;
}

export interface RunningServer {
  readonly url: string;
  readonly engine: EngineProcess;
  /** Lets running requests end; training saves and goes on at the next start. */
  close(): Promise<void>;
}

const MiB = 2 ** 20;

/** Throws ConfigError if the port or the data directory is taken, and what opening a device and loading a model or an adapter throws. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { model, servedModelName, adapters, log, uploadLimit = 512 * MiB } = options;
  const logger = options.logger ?? pino({ level: "silent" });
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "graft-"));
  const now = (): Date => new Date();
  /** In the order in which they are to be undone. */
  const opened: (() => unknown)[] = options.dataDir === undefined ? [() => rm(dataDir, { recursive: true })] : [];
  const close = async (): Promise<void> => {
    for (const undo of opened.splice(0).toReversed()) await undo();
  };
  try {
    const tokenizer = loadTokenizer(model);
    const base = openBaseFolder(model);
    opened.push(() => base.close());
    const lock = lockData(dataDir);
    opened.push(() => lock.release());
    const blobs = openBlobs(dataDir);
    const store = await openStore(
      options.databaseUrl === undefined ? { path: join(dataDir, databaseName) } : { url: options.databaseUrl },
      { now },
    );
    opened.push(() => store.close());
    await blobs.sweep({ files: store.isFileUsed, folders: adapterFolderUse(store, blobs) });
    const engine = await EngineProcess.start({ engine: engineOptions(options), log, onReady: () => jobs.wake() });
    opened.push(() => engine.close());
    const shelf = createAdapterShelf({ engine, store, blobs, base, modelName: servedModelName, now, log });
    const metrics = createMetrics({
      stats: () => engine.stats(),
      jobs: () => store.countJobs(),
      maxAdapters: options.maxSequences ?? DEFAULT_SEQUENCES,
      now,
    });
    const jobs = new JobRunner({
      engine,
      store,
      blobs,
      shelf,
      metrics,
      log: logger,
      modelName: servedModelName,
      jobsDir: join(dataDir, "jobs"),
      maxJobs: options.maxJobs ?? 1,
      now,
    });
    await shelf.restore(adapters);
    await store.recoverJobs(now());
    const services: Services = {
      engine,
      base,
      tokenizer,
      store,
      blobs,
      shelf,
      jobs,
      metrics,
      log: logger,
      generate: (request, signal) => metrics.observe(engine.generate(request, signal), request),
      settings: {
        modelName: servedModelName,
        apiKey: options.apiKey,
        bodyLimit: 16 * MiB,
        uploadLimit,
        bodyTimeoutMs: options.bodyTimeoutMs ?? 60_000,
        adapterRoots: [dataDir, ...(options.adapterRoots ?? [])],
        corsOrigins: options.corsOrigins ?? [],
      },
      startedAt: now(),
      now,
      newId: (prefix) => `${prefix}-${randomUUID().replaceAll("-", "")}`,
    };
    const server = listen(options, uploadLimit, createApp(services).fetch);
    // Together: who follows a job would be waited for until it has ended.
    opened.push(() => Promise.all([server.stop(), jobs.close()]));
    jobs.wake();
    return {
      url: `http://${options.host === "0.0.0.0" ? "127.0.0.1" : options.host}:${server.port}`,
      engine,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Requests that run at once where nobody says. */
const DEFAULT_SEQUENCES = 32;

/** Those of the options that are the engine's. */
function engineOptions(options: ServeOptions): EngineOptions {
  const names = [
    "model",
    "dtype",
    "quantization",
    "maxSequences",
    "pages",
    "maxWaitingTokens",
    "hostAdapterBytes",
    "deviceAdapterBytes",
    "decodeLatencyTargetMs",
    "tuning",
  ] as const satisfies readonly (keyof EngineOptions)[];
  // What is undefined is left out: the protocol takes no undefined.
  const given = names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]] as const]));
  return Object.fromEntries(given) as unknown as EngineOptions;
}

function listen(
  { host, port }: ServeOptions,
  uploadLimit: number,
  fetch: (request: Request) => Response | Promise<Response>,
) {
  try {
    // A slow model may be silent for long before its first token. A body that is too large is refused by the app, with an error object.
    return Bun.serve({ hostname: host, port, idleTimeout: 255, maxRequestBodySize: uploadLimit + 64 * MiB, fetch });
  } catch (cause) {
    throw new ConfigError(
      `${host}:${port} cannot be listened on (${cause instanceof Error ? cause.message : String(cause)}); choose another --port, or --host`,
      { cause },
    );
  }
}
