/** A running server: engine, database and HTTP put together. */
import { baseOf, loadAdapter } from "@graft/adapters";
import { createEngine, type Engine, type OpenedAdapter } from "@graft/core/engine";
import { ConfigError } from "@graft/core/errors";
import { type BaseModel, loadBaseModel, type WeightDType } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import type { Device } from "@graft/kernels";
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createApp } from "./app.ts";
import { Store } from "./db/store.ts";

export interface ServeOptions {
  readonly device: Device;
  readonly model: string;
  readonly adapters: Readonly<Record<string, string>>;
  readonly servedModelName: string;
  readonly host: string;
  readonly port: number;
  /** Folder of the database; undefined keeps nothing. */
  readonly dataDir: string | undefined;
  readonly apiKey: string | undefined;
  readonly dtype: WeightDType;
  readonly maxSequences?: number;
  readonly log: (line: string) => void;
}

export interface RunningServer {
  readonly url: string;
  readonly engine: Engine;
  close(): Promise<void>;
}

/** Throws ConfigError if the port is taken, and what loading a model or an adapter throws. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { device, log } = options;
  const model = loadBaseModel(device, options.model, { dtype: options.dtype });
  const tokenizer = loadTokenizer(options.model);
  const store = new Store(options.dataDir === undefined ? ":memory:" : join(options.dataDir, "graft.sqlite"));
  const base = baseOf(model);
  const engine = createEngine({
    model,
    tokenizer,
    openAdapter: async (path) => openAdapter(model, base, path),
    ...(options.maxSequences === undefined ? {} : { maxSequences: options.maxSequences }),
  });
  const close = async (): Promise<void> => {
    await engine.close();
    store.close();
    model.destroy();
  };
  try {
    for (const [name, path] of Object.entries(options.adapters)) {
      const info = await engine.loadAdapter(name, resolve(path));
      store.putAdapter({ name, path: resolve(path), version: info.version, method: info.method, loadedAt: new Date() });
    }
    // Adapters of the last run come back; one whose folder is gone is reported, not fatal.
    for (const { name, path } of store.adapters()) {
      if (Object.hasOwn(options.adapters, name)) continue;
      try {
        await engine.loadAdapter(name, path);
      } catch (error) {
        log(`adapter ${name} was not loaded again: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
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

function listen({ host, port }: ServeOptions, fetch: (request: Request) => Response | Promise<Response>) {
  try {
    // A slow model may be silent for long before its first token.
    return Bun.serve({ hostname: host, port, idleTimeout: 255, fetch });
  } catch (cause) {
    throw new ConfigError(
      `${host}:${port} cannot be listened on (${cause instanceof Error ? cause.message : String(cause)}); choose another --port`,
      { cause },
    );
  }
}

function openAdapter(model: BaseModel, base: ReturnType<typeof baseOf>, path: string): OpenedAdapter {
  const loaded = loadAdapter(path, base);
  const weights = new AdapterWeights(model.device, loaded.bound, loaded.values, path);
  const bytes = loaded.bound.parameters.reduce((sum, p) => sum + 4 * p.shape.reduce((a, b) => a * b, 1), 0);
  const hash = createHash("sha256");
  for (const file of ["adapter_config.json", "adapter_model.safetensors"]) hash.update(readFileSync(join(path, file)));
  return {
    info: { version: hash.digest("hex").slice(0, 16), path, method: loaded.bound.method, parameters: bytes / 4, bytes },
    weights,
  };
}
