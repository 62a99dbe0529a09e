/** A running server: engine, database and HTTP put together. */
import { ConfigError } from "@graft/core/errors";
import { loadTokenizer } from "@graft/core/text";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { createApp } from "./app.ts";
import { databaseName, Store } from "./db/store.ts";
import { EngineProcess } from "./worker/engine-process.ts";
import type { EngineOptions } from "./worker/protocol.ts";

/** The device is opened by the engine's process: nothing here touches it. */
export interface ServeOptions extends EngineOptions {
  readonly adapters: Readonly<Record<string, string>>;
  readonly servedModelName: string;
  readonly host: string;
  readonly port: number;
  /** Folder of the database; undefined keeps nothing. */
  readonly dataDir: string | undefined;
  readonly apiKey: string | undefined;
  readonly log: (line: string) => void;
}

export interface RunningServer {
  readonly url: string;
  readonly engine: EngineProcess;
  close(): Promise<void>;
}

/** Throws ConfigError if the port is taken, and what opening a device and loading a model or an adapter throws. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { model, dtype, quantization, maxSequences, tuning, log } = options;
  const tokenizer = loadTokenizer(model);
  const engine = await EngineProcess.start({
    engine: {
      model,
      dtype,
      ...(quantization === undefined ? {} : { quantization }),
      ...(maxSequences === undefined ? {} : { maxSequences }),
      ...(tuning ? { tuning } : {}),
    },
    log,
  });
  let store: Store | undefined;
  const close = async (): Promise<void> => {
    await engine.close();
    store?.close();
  };
  try {
    store = new Store(options.dataDir === undefined ? ":memory:" : join(options.dataDir, databaseName));
    await loadAdapters(engine, store, options);
    const app = createApp({
      engine,
      tokenizer,
      store,
      modelName: options.servedModelName,
      apiKey: options.apiKey,
      bodyLimit: 16 * 2 ** 20,
      now: () => new Date(),
      newId: (prefix) => `${prefix}-${randomUUID().replaceAll("-", "")}`,
    });
    const server = listen(options, app.fetch);
    return {
      url: `http://${options.host === "0.0.0.0" ? "127.0.0.1" : options.host}:${server.port}`,
      engine,
      async close() {
        await server.stop();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Those that were asked for, and those of the last run; of these one whose folder is gone is reported, not fatal. */
async function loadAdapters(engine: EngineProcess, store: Store, { adapters, log }: ServeOptions): Promise<void> {
  for (const [name, folder] of Object.entries(adapters)) {
    const { path, version, method } = await engine.loadAdapter(name, folder);
    store.putAdapter({ name, path, version, method, loadedAt: new Date() });
  }
  for (const { name, path } of store.adapters()) {
    if (Object.hasOwn(adapters, name)) continue;
    try {
      await engine.loadAdapter(name, path);
    } catch (error) {
      log(`adapter ${name} was not loaded again: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

function listen({ host, port }: ServeOptions, fetch: (request: Request) => Response | Promise<Response>) {
  try {
    // A slow model may be silent for long before its first token.
    return Bun.serve({ hostname: host, port, idleTimeout: 255, fetch });
  } catch (cause) {
    throw new ConfigError(
      `${host}:${port} cannot be listened on (${cause instanceof Error ? cause.message : String(cause)}); choose another --port, or --host`,
      { cause },
    );
  }
}
