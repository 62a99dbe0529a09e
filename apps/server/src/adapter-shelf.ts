/** Adapters' bytes, rows and names in the engine, which change together. */
import { adapterVersion, type Base, loadAdapter } from "@graft/adapters";
import { cpSync } from "node:fs";
import { join } from "node:path";
import type { Blobs, JobRow, NewVersion, Store, VersionSource } from "./db/index.ts";
import type { EngineProcess } from "./worker/engine-process.ts";

export interface AdapterShelfOptions {
  readonly engine: EngineProcess;
  readonly store: Store;
  readonly blobs: Blobs;
  readonly base: Base;
  readonly modelName: string;
  readonly now: () => Date;
  readonly log: (line: string) => void;
}

export interface AdapterShelf {
  restore(adapters: Readonly<Record<string, string>>): Promise<void>;
  addCheckpoint(name: string, job: JobRow, checkpoint: { readonly step: number; readonly path: string }): Promise<void>;
  addResult(name: string, job: JobRow, path: string): Promise<NewVersion>;
}

export function createAdapterShelf({ engine, store, blobs, base, now, log }: AdapterShelfOptions): AdapterShelf {
  const describe = (folder: string, source: VersionSource): NewVersion => {
    const { bound } = loadAdapter(folder, base);
    const parameters = bound.parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    return {
      hash: adapterVersion(folder),
      path: null,
      source,
      method: bound.method,
      parameters,
      bytes: 4 * parameters,
      virtualTokens: bound.virtualTokens ?? 0,
    };
  };
  const keep = (folder: string, version: NewVersion): Promise<string> =>
    blobs.putFolder(
      version.hash,
      (into) => cpSync(folder, into, { recursive: true }),
      async (kept) => kept,
    );
  return {
    async restore(adapters) {
      for (const [name, folder] of Object.entries(adapters)) {
        const version = describe(folder, { type: "path", path: folder });
        const kept = await keep(folder, version);
        await store.createVersion(name, version, now(), { publish: true });
        await engine.loadAdapter(name, kept);
      }
      for (const { adapter, version } of await store.publishedAdapters()) {
        if (engine.adapter(adapter.name)) continue;
        await engine
          .loadAdapter(adapter.name, blobs.folder(version.hash))
          .catch((error: unknown) => log(String(error)));
      }
    },
    async addCheckpoint(name, job, { step, path }) {
      const version = describe(path, { type: "job", job: job.id, step });
      const kept = await keep(path, version);
      await store.createVersion(name, version, now(), { publish: true });
      await engine.loadAdapter(name, kept);
    },
    async addResult(name, job, path) {
      const files = join(path);
      const version = describe(files, { type: "job", job: job.id, step: null });
      await engine.loadAdapter(name, await keep(files, version));
      return version;
    },
  };
}
