/**
 * Adapters' files, rows and names in the engine, which change together. Files come first, whole and checked; then the engine, which may refuse; then the rows. What is acknowledged is in
 * the rows, and a start makes the engine's names from them. A refusal of the engine changes nothing, a row that cannot be written takes the engine's change back, and a crash in between leaves
 * what was acknowledged before, and at most files that nothing names, which the next start sweeps.
 */
import type { Base } from "@graft/adapters";
import type { AdapterInfo } from "@graft/core/engine";
import { CheckpointError, ConfigError } from "@graft/core/errors";
import { existsSync } from "node:fs";
import { copiedFiles, type Fill, moveFiles } from "./adapters/adapter-files.ts";
import { checkFiles, faultsNamed, type VersionFacts } from "./adapters/check-files.ts";
import { adapterFolderUse } from "./adapters/folder-use.ts";
import { createRemovals } from "./adapters/removals.ts";
import type { Blobs, JobRow, NewVersion, Store, VersionRow, VersionSource } from "./db/index.ts";
import { createKeyedTurns, createTurns } from "./db/turns.ts";
import type { EngineProcess } from "./worker/engine-process.ts";

export interface AdapterShelfOptions {
  readonly engine: Pick<
    EngineProcess,
    "adapter" | "loadAdapter" | "registerAdapters" | "pinAdapter" | "unloadAdapter" | "keptVersions"
  >;
  readonly store: Store;
  readonly blobs: Blobs;
  readonly base: Base;
  /** Name of the base: no adapter has it. */
  readonly modelName: string;
  readonly now: () => Date;
  /** What a person should know. */
  readonly log: (line: string) => void;
}

export interface NewAdapter {
  readonly source: VersionSource;
  /** Writes the files into an empty folder. */
  readonly fill: Fill;
  /** Where the files are from, for messages; "" for a client's own. */
  readonly from: string;
  /** Requests get it at once. */
  readonly publish: boolean;
}

/** Changes of one name come one after the other, in the order of the calls; those of different names together. */
export interface AdapterShelf {
  /**
   * For a start: loads and publishes `adapters`, folders by name, and tells the engine of all others that are published without reading them. What is missing is logged. Throws for a folder of
   * `adapters` that is none.
   */
  restore(adapters: Readonly<Record<string, string>>): Promise<void>;
  /** A new version; the same files under the same name are the same version. Throws ApiError 400 for files that are no adapter of this base. */
  add(name: string, version: NewAdapter): Promise<VersionRow>;
  /** Makes a version the one that requests get; those in flight finish on theirs. Throws UnknownName. */
  publish(name: string, number: number): Promise<VersionRow>;
  /** Back to what was published before. Throws UnknownName; ApiError 409 if nothing was. */
  rollback(name: string): Promise<VersionRow>;
  /** A pinned adapter stays on the device. Throws UnknownName, ConfigError where the budget is too small. */
  pin(name: string, isPinned: boolean): Promise<void>;
  /** Requests no longer find it. What was loaded by path alone is forgotten, what was uploaded or trained stays, unpublished. Throws UnknownName. */
  unload(name: string): Promise<void>;
  /** All of its versions. Throws UnknownName. */
  delete(name: string): Promise<void>;
  /** Throws UnknownName; ApiError 409 for the current one. */
  deleteVersion(name: string, number: number): Promise<void>;
  /** Where the files of a version are. */
  folderOf(version: Pick<VersionRow, "hash" | "path">): string;
  /** What a job had learnt by a step, published. */
  addCheckpoint(name: string, job: JobRow, checkpoint: { readonly step: number; readonly path: string }): Promise<void>;
  /** What came of a job: the engine has it, and the row is the job's to write (`Store.succeedJob`). */
  addResult(name: string, job: JobRow, path: string): Promise<NewVersion>;
}

export function createAdapterShelf(options: AdapterShelfOptions): AdapterShelf {
  const { engine, store, blobs, base, now, log } = options;
  const removals = createRemovals({ engine, blobs, isUsed: adapterFolderUse(store, blobs), log });
  const turnOf = createKeyedTurns();
  // One adapter's values at a time are in memory.
  const checkInTurn = createTurns();

  const folderOf = ({ hash, path }: Pick<VersionRow, "hash" | "path">): string => path ?? blobs.folder(hash);

  const change = <T>(name: string, work: () => Promise<T>): Promise<T> =>
    turnOf(name, work).finally(() => removals.tryAgain());

  /** Brings files into the data directory and calls `record` while nobody can remove them. */
  const ingest = <T>(
    { fill, from }: Pick<NewAdapter, "fill" | "from">,
    record: (folder: string, facts: VersionFacts) => Promise<T>,
  ): Promise<T> =>
    blobs.stage(async (staged) => {
      const facts = await checkInTurn(async () => {
        await faultsNamed(staged, from, () => fill(staged));
        return checkFiles(staged, base, from);
      });
      return blobs.putFolder(
        facts.hash,
        (folder) => moveFiles(staged, folder),
        (folder) => record(folder, facts),
      );
    });

  /** The engine's change, then the rows'. */
  const together = async <T>(name: string, act: () => Promise<unknown>, record: () => Promise<T>): Promise<T> => {
    const before = engine.adapter(name);
    try {
      await act();
      return await record();
    } catch (error) {
      await putBack(name, before).catch((cause: unknown) =>
        log(`adapter "${name}": could not be put back: ${String(cause)}`),
      );
      throw error;
    }
  };

  const putBack = async (name: string, before: AdapterInfo | undefined): Promise<void> => {
    const found = engine.adapter(name);
    if (!before) {
      if (found) await engine.unloadAdapter(name);
    } else if (found?.version !== before.version || found.isPinned !== before.isPinned) {
      await engine.registerAdapters([withoutTier(before)]);
    }
  };

  /** Points the engine's name at files. */
  const load = async (name: string, hash: string, folder: string, isPinned: boolean): Promise<void> => {
    const { version } = await engine.loadAdapter(name, folder);
    if (version !== hash)
      throw new CheckpointError(
        `${folder}: its files have changed, they are version ${version}; delete this version and upload it again`,
      );
    if (isPinned) await engine.pinAdapter(name, true);
  };

  const isPinned = async (name: string): Promise<boolean> => {
    const known = engine.adapter(name);
    if (known) return known.isPinned;
    return (await store.findAdapter(name))?.isPinned ?? false;
  };

  const addInTurn = (name: string, { source, publish, ...files }: NewAdapter): Promise<VersionRow> =>
    ingest(files, async (folder, facts) => {
      const known = await store.findVersionByHash(name, facts.hash);
      if (known && !publish) return known;
      const pinned = await isPinned(name);
      const record = (): Promise<VersionRow> =>
        known
          ? store.publishVersion(name, known.number, now())
          : store.createVersion(name, { ...facts, path: null, source }, now(), { publish });
      return publish ? together(name, () => load(name, facts.hash, folder, pinned), record) : record();
    });

  return {
    folderOf,

    add: (name, version) => change(name, () => addInTurn(name, version)),

    publish: (name, number) =>
      change(name, async () => {
        const version = await store.version(name, number);
        const pinned = await isPinned(name);
        return together(
          name,
          () => load(name, version.hash, folderOf(version), pinned),
          () => store.publishVersion(name, number, now()),
        );
      }),

    rollback: (name) =>
      change(name, async () => {
        const version = await store.previousVersion(name);
        const pinned = await isPinned(name);
        return together(
          name,
          () => load(name, version.hash, folderOf(version), pinned),
          () => store.rollbackAdapter(name, now()),
        );
      }),

    pin: (name, pinned) =>
      change(name, async () => {
        await store.adapter(name);
        const act = async () => engine.adapter(name) && engine.pinAdapter(name, pinned);
        await together(name, act, () => store.pinAdapter(name, pinned));
      }),

    unload: (name) =>
      change(name, async () => {
        const { data, hasMore } = await store.versions(name, { limit: 1000 });
        const isForgotten = !hasMore && data.every(({ source }) => source.type === "path");
        const act = async () => engine.adapter(name) && engine.unloadAdapter(name);
        if (isForgotten) removals.add(await together(name, act, () => store.deleteAdapter(name)));
        else await together(name, act, () => store.unpublishAdapter(name));
      }),

    delete: (name) =>
      change(name, async () => {
        const act = async () => engine.adapter(name) && engine.unloadAdapter(name);
        removals.add(await together(name, act, () => store.deleteAdapter(name)));
      }),

    deleteVersion: (name, number) => change(name, async () => removals.add([await store.deleteVersion(name, number)])),

    async addCheckpoint(name, job, { step, path }) {
      const source = { type: "job", job: job.id, step } as const;
      await change(name, () => addInTurn(name, { source, fill: copiedFiles(path), from: path, publish: true }));
    },

    addResult: (name, job, path) =>
      change(name, () =>
        ingest({ fill: copiedFiles(path), from: path }, async (folder, facts) => {
          await load(name, facts.hash, folder, false);
          return { ...facts, path: null, source: { type: "job", job: job.id, step: null } };
        }),
      ),

    async restore(adapters) {
      for (const [name, from] of Object.entries(adapters)) {
        const source = { type: "path", path: from } as const;
        await change(name, () => addInTurn(name, { source, fill: copiedFiles(from), from, publish: true }));
      }
      const published = (await store.publishedAdapters()).filter(({ adapter }) => !engine.adapter(adapter.name));
      const missing: string[] = [];
      const found: Omit<AdapterInfo, "tier">[] = [];
      for (const { adapter, version } of published) {
        const facts = await known(adapter.name, version).catch((error: unknown) =>
          log(`adapter "${adapter.name}": ${String(error)}`),
        );
        if (facts && existsSync(folderOf(facts))) found.push(infoOf(facts, folderOf(facts), adapter.isPinned));
        else missing.push(adapter.name);
      }
      await engine.registerAdapters(found.filter((info) => !info.isPinned));
      // One by one: the budget may hold fewer of them than before.
      for (const info of found.filter(({ isPinned: pinned }) => pinned)) {
        await engine.registerAdapters([info]).catch(async (error: unknown) => {
          if (!(error instanceof ConfigError)) throw error;
          log(`${error.message}; it is served without its pin`);
          await engine.registerAdapters([{ ...info, isPinned: false }]);
        });
      }
      if (missing.length > 0)
        log(`${missing.length} adapters are not served, their files are missing: ${someOf(missing)}`);
    },
  };

  /** A version with its facts. Those of a database of before have a folder and no facts: they are read once. */
  async function known(name: string, version: VersionRow): Promise<VersionRow> {
    if (version.path === null || version.parameters > 0) return version;
    const facts = await checkFiles(version.path, base, version.path);
    return store.describeVersion(name, version.number, facts);
  }
}

function infoOf(version: VersionRow, path: string, isPinned: boolean): Omit<AdapterInfo, "tier"> {
  const { adapter: name, hash, method, parameters, bytes, virtualTokens } = version;
  return { name, version: hash, path, method, parameters, bytes, virtualTokens, isPinned };
}

function withoutTier(adapter: AdapterInfo): Omit<AdapterInfo, "tier"> {
  const { tier: _tier, ...info } = adapter;
  return info;
}

/** Names for a log line. */
function someOf(names: readonly string[]): string {
  const more = names.length - 10;
  return names.slice(0, 10).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
