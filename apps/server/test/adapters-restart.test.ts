/** Adapters over restarts, deaths of the engine's process and failures between its change and the rows'. */
import { adapterVersion, checkAdapter, openBaseFolder } from "@graft/adapters";
import { resolveJob } from "@graft/adapters/train";
import type { AdapterInfo } from "@graft/core/engine";
import { ConfigError } from "@graft/core/errors";
import { afterAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AdapterShelf, createAdapterShelf } from "../src/adapter-shelf.ts";
import { copiedFiles } from "../src/adapters/adapter-files.ts";
import { adapterFolderUse } from "../src/adapters/folder-use.ts";
import { type Blobs, databaseName, openBlobs, openStore, StorageError, type Store } from "../src/db/index.ts";
import type { RunningServer } from "../src/index.ts";
import type { KeptJobRequest } from "../src/jobs/job-request.ts";
import { type AdapterAnswer, adapterApi } from "./adapter-api.ts";
import { microModel, startMicroServer } from "./in-process.ts";
import { writeRandomAdapter } from "./proof/random-adapters.ts";
import { isRunning, Lines, until } from "./shared.ts";
import { newJob, newVersion } from "./store-rows.ts";

const folder = mkdtempSync(join(tmpdir(), "restart-"));
afterAll(() => rmSync(folder, { recursive: true }));
const one = await writeRandomAdapter(microModel, folder, "lora", 1);
const two = await writeRandomAdapter(microModel, folder, "lora", 2);
const prefix = await writeRandomAdapter(microModel, folder, "prefix", 1);
const at = new Date("2026-01-01T00:00:00Z");

test("after a restart, and after the engine's process died, every name, version, pin and publication is there", async () => {
  const dataDir = join(folder, "data");
  const lines = new Lines();
  const start = (adapters = {}): Promise<RunningServer> =>
    startMicroServer({ adapters, dataDir, adapterRoots: [folder], log: lines.log });
  let server = await start({ flag: prefix });
  const api = adapterApi(() => server);
  await api.upload("a", one);
  await api.upload("a", two);
  await api.ok("POST", "/v1/adapters", { name: "b", from: { path: two }, publish: false });
  await api.ok("POST", `${api.at("a")}/pin`, { pinned: true });
  const everything = async () => ({
    adapters: (await api.ok<{ data: AdapterAnswer[] }>("GET", "/v1/adapters")).data.map(
      ({ tier: _tier, ...rest }) => rest,
    ),
    versions: await api.versions("a"),
    models: (await api.models()).toSorted(),
    text: await api.text("a"),
    flag: await api.text("flag"),
  });
  const before = await everything();
  expect(before.models).toEqual(["a", "flag", "graft-micro-llama"]);

  const died = server.engine.pid!;
  const seen = lines.all.length;
  process.kill(died, "SIGKILL");
  await until(() => !isRunning(died), "the process is gone");
  await lines.next("is ready again", seen);
  expect(await everything()).toEqual(before);

  await server.close();
  server = await start();
  try {
    expect((await server.engine.stats()).adapters).toBe(2);
    expect(await everything()).toEqual(before);
    await until(async () => (await api.adapter("a")).tier === "device", "the pinned one comes back");
    expect(await api.ok<AdapterAnswer>("POST", `${api.at("a")}/rollback`)).toMatchObject({ current_version: 1 });
    // Without a process nothing is changed, and the caller is told when to come again.
    process.kill(server.engine.pid!, "SIGKILL");
    await until(() => !server.engine.isReady, "its death is known");
    const refused = await api.call("POST", `${api.at("a")}/publish`, { version: 2 });
    expect([refused.status, refused.error!.code]).toEqual([503, "engine_unavailable"]);
    expect(await api.adapter("a")).toMatchObject({ current_version: 1 });
    // What needs no engine goes on.
    expect((await api.upload("b", one, { publish: "false" })).versions).toBe(2);
  } finally {
    await server.close();
  }
});

test("2,000 adapters are there after a start without one being read, and what is missing is said", async () => {
  const dataDir = join(folder, "many");
  const hash = adapterVersion(one);
  cpSync(one, openBlobs(dataDir).folder(hash), { recursive: true });
  const base = openBaseFolder(microModel);
  const facts = await checkAdapter(one, base);
  base.close();
  const { method, parameters, bytes, virtualTokens } = facts;
  const store = await openStore({ path: join(dataDir, databaseName) });
  const version = { hash, path: null, source: { type: "upload" } as const, method, parameters, bytes, virtualTokens };
  for (let i = 0; i < 2000; i++) await store.createVersion(`a${i}`, version, at, { publish: true });
  for (const name of ["lost", "gone"])
    await store.createVersion(name, { ...version, hash: "0123456789abcdef" }, at, { publish: true });
  await store.close();
  const lines = new Lines();
  const server = await startMicroServer({ adapters: {}, dataDir, log: lines.log });
  try {
    const api = adapterApi(() => server);
    expect(lines.all).toEqual(["2 adapters are not served, their files are missing: gone, lost"]);
    expect(await server.engine.stats()).toMatchObject({ adapters: 2000, adaptersOnDevice: 0, adapterBytesOnHost: 0 });
    expect(await api.text("a1234")).toBe(await api.text("a7"));
    expect((await server.engine.stats()).adaptersOnDevice).toBe(1);
    expect((await api.adapter("lost")).tier).toBeNull();
  } finally {
    await server.close();
  }
});

/** An engine that remembers names and refuses on demand. */
class Names {
  readonly calls: string[] = [];
  readonly names = new Map<string, AdapterInfo>();
  kept: string[] = [];
  refuses: Error | undefined;

  adapter = (name: string) => this.names.get(name);
  keptVersions = () => Promise.resolve(this.kept);
  async registerAdapters(all: readonly Omit<AdapterInfo, "tier">[]): Promise<void> {
    this.calls.push(`register ${all.length}`);
    if (this.refuses && all.some(({ isPinned }) => isPinned)) throw this.refuses;
    for (const info of all) this.names.set(info.name, { ...info, tier: "disk" });
  }
  async loadAdapter(name: string, path: string): Promise<AdapterInfo> {
    this.calls.push(`load ${name}`);
    if (this.refuses) throw this.refuses;
    const base = openBaseFolder(microModel);
    const info = { ...(await checkAdapter(path, base)), name, isPinned: this.names.get(name)?.isPinned ?? false };
    base.close();
    this.names.set(name, { ...info, tier: "host" });
    return this.names.get(name)!;
  }
  async pinAdapter(name: string, isPinned: boolean): Promise<AdapterInfo> {
    this.names.set(name, { ...this.names.get(name)!, isPinned });
    return this.names.get(name)!;
  }
  async unloadAdapter(name: string): Promise<void> {
    this.calls.push(`unload ${name}`);
    this.names.delete(name);
  }
}

async function withShelf(
  work: (world: {
    shelf: AdapterShelf;
    engine: Names;
    store: Store;
    blobs: Blobs;
    lines: string[];
    broken: Set<string>;
  }) => Promise<void>,
): Promise<void> {
  const blobs = openBlobs(mkdtempSync(join(folder, "shelf-")));
  const real = await openStore({ path: ":memory:" });
  const broken = new Set<string>();
  const store = new Proxy(real, {
    get: (target, key: keyof Store) =>
      broken.has(key) ? () => Promise.reject(new StorageError("the disk is full")) : target[key],
  });
  const base = openBaseFolder(microModel);
  const engine = new Names();
  const lines: string[] = [];
  const shelf = createAdapterShelf({
    engine,
    store,
    blobs,
    base,
    modelName: "base",
    now: () => at,
    log: (line) => lines.push(line),
  });
  try {
    await work({ shelf, engine, store, blobs, lines, broken });
  } finally {
    base.close();
    await real.close();
  }
}

const added = (path: string, publish = true) => ({
  source: { type: "upload" } as const,
  fill: copiedFiles(path),
  from: "",
  publish,
});

test("a start asks the engine once for all that have no pin, whatever their number", () =>
  withShelf(async ({ shelf, engine, store, blobs, lines }) => {
    const hash = "0123456789abcdef";
    await blobs.putFolder(
      hash,
      () => undefined,
      async () => undefined,
    );
    for (let i = 0; i < 200; i++) await store.createVersion(`a${i}`, newVersion(hash), at, { publish: true });
    for (const name of ["p1", "p2"]) {
      await store.createVersion(name, newVersion(hash), at, { publish: true });
      await store.pinAdapter(name, true);
    }
    engine.refuses = new ConfigError('adapter "p": cannot be pinned');
    await shelf.restore({});
    expect(engine.calls).toEqual(["register 200", "register 1", "register 1", "register 1", "register 1"]);
    expect(engine.names.size).toBe(202);
    expect(engine.adapter("p1")!.isPinned).toBe(false);
    expect(lines).toEqual(
      Array.from({ length: 2 }, () => 'adapter "p": cannot be pinned; it is served without its pin'),
    );
  }));

test("what the engine refuses, or the database cannot write, leaves both as they were", () =>
  withShelf(async ({ shelf, engine, store, broken }) => {
    await shelf.add("a", added(one));
    await shelf.add("a", added(two, false));
    const state = async () => [engine.adapter("a")?.version, (await store.adapter("a")).currentVersion];
    const before = await state();
    expect(before).toEqual([adapterVersion(one), 1]);
    engine.refuses = new ConfigError("too large");
    await expect(shelf.publish("a", 2)).rejects.toThrow("too large");
    await expect(shelf.add("new", added(two))).rejects.toThrow("too large");
    engine.refuses = undefined;
    expect(await store.findAdapter("new")).toBeUndefined();
    for (const [method, change] of [
      ["publishVersion", () => shelf.publish("a", 2)],
      ["pinAdapter", () => shelf.pin("a", true)],
      ["deleteAdapter", () => shelf.delete("a")],
      ["unpublishAdapter", () => shelf.unload("a")],
      ["createVersion", () => shelf.add("new", added(two))],
    ] as const) {
      broken.add(method);
      await expect(change()).rejects.toThrow(StorageError);
      broken.clear();
      expect(await state()).toEqual(before);
      expect(engine.adapter("a")!.isPinned).toBe(false);
    }
    expect(engine.adapter("new")).toBeUndefined();
    await shelf.publish("a", 2);
    broken.add("rollbackAdapter");
    await expect(shelf.rollback("a")).rejects.toThrow(StorageError);
    expect(await state()).toEqual([adapterVersion(two), 2]);
  }));

test("files of a deleted version go when no version, request or open job needs them", () =>
  withShelf(async ({ shelf, engine, store, blobs }) => {
    await shelf.add("a", added(one));
    await shelf.add("b", added(one));
    const hash = adapterVersion(one);
    const isThere = (): boolean => existsSync(blobs.folder(hash));
    await shelf.delete("a");
    expect(isThere()).toBe(true);
    engine.kept = [hash];
    await shelf.delete("b");
    expect(isThere()).toBe(true);
    // The request has ended, and another name has the files now.
    engine.kept = [];
    await shelf.add("c", added(one));
    expect(isThere()).toBe(true);
    // A job that has not run yet begins with them.
    const base = openBaseFolder(microModel);
    const spec = resolveJob({}, { data: { format: "completion", rows: 8 }, base, modelPath: microModel });
    base.close();
    const request = { spec, from_adapter: blobs.folder(hash) } satisfies KeptJobRequest;
    await store.createJob(newJob("ftjob-1"), at);
    await store.createJob(newJob("ftjob-2", { request }), at);
    await shelf.delete("c");
    expect(isThere()).toBe(true);
    const isUsed = adapterFolderUse(store, blobs);
    expect(await isUsed(hash)).toBe(true);
    await store.moveJob("ftjob-2", "cancelled", at);
    expect(await isUsed(hash)).toBe(false);
    await shelf.add("d", added(one));
    await shelf.delete("d");
    expect(isThere()).toBe(false);
    expect(readdirSync(join(blobs.folder(hash), ".."))).toEqual([]);
  }));

test("files that were changed on the disk are not served as the version they were", () =>
  withShelf(async ({ shelf, engine, blobs }) => {
    await shelf.add("a", added(one));
    await shelf.add("a", added(two));
    const folderOfOne = blobs.folder(adapterVersion(one));
    cpSync(prefix, folderOfOne, { recursive: true });
    await expect(shelf.publish("a", 1)).rejects.toThrow("its files have changed");
    expect(engine.adapter("a")!.version).toBe(adapterVersion(two));
  }));
