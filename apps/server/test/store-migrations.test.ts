/** Databases of before: what was in them is still there, in its new place. */
import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { openStore, packItems } from "../src/db/index.ts";
import { at, itemsOf, newResult, newRun } from "./runs.ts";
import { storeKinds } from "./stores.ts";

const scratch = mkdtempSync(join(tmpdir(), "migrations-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const migrations = resolve(import.meta.dir, "../drizzle/sqlite");

/** A database as the first `count` migrations leave it. */
function oldDatabase(name: string, count: number): { readonly path: string; readonly sqlite: Database } {
  const folder = join(scratch, name);
  mkdirSync(join(folder, "meta"), { recursive: true });
  const journal = JSON.parse(readFileSync(join(migrations, "meta/_journal.json"), "utf8")) as {
    entries: { tag: string }[];
  };
  const entries = journal.entries.slice(0, count);
  for (const { tag } of entries) cpSync(join(migrations, `${tag}.sql`), join(folder, `${tag}.sql`));
  writeFileSync(join(folder, "meta/_journal.json"), JSON.stringify({ ...journal, entries }));
  const path = join(folder, "graft.sqlite");
  const sqlite = new Database(path, { create: true });
  migrate(drizzle(sqlite), { migrationsFolder: folder });
  return { path, sqlite };
}

test("a file of the first version gets the new tables and keeps its rows", async () => {
  const { path, sqlite } = oldDatabase("first", 1);
  sqlite.run("INSERT INTO adapters VALUES ('a', '/x', 'hash', 'lora', 5)");
  expect(sqlite.query("SELECT name FROM sqlite_master WHERE name = 'runs'").get()).toBeNull();
  sqlite.close();
  const store = await openStore({ path });
  expect((await store.adapter("a")).current!.path).toBe("/x");
  const id = await store.createRun(newRun, at);
  expect((await store.run(id.slice(0, 10))).id).toBe(id);
  await store.close();
});

test("adapters become names with one published version, jobs keep state and error, runs and results their order", async () => {
  const { path, sqlite } = oldDatabase("second", 2);
  sqlite.run("INSERT INTO adapters VALUES ('it''s', '/x', 'hash-1', 'lora', 5), ('b', '/y', 'hash-2', 'ia3', 6)");
  sqlite.run(`INSERT INTO jobs VALUES
    ('one', 'failed', '{"model":"m","training_file":"f"}', 'lost', 7, 8),
    ('two', 'queued', 'no JSON', NULL, 9, 9),
    ('three', 'running', '[1]', NULL, 10, 11)`);
  const insertRun = sqlite.query(
    `INSERT INTO runs VALUES (?, 'eval', 'finished', NULL, 1000, 2000, 'base', 'm', NULL, '{}', '/', NULL, 7, NULL, NULL, NULL, NULL, NULL, '0.1.0', NULL)`,
  );
  // Against the order of their names: what counts is the order in which they came.
  for (const id of ["20250131-235959-zzzzz", "20250131-235959-bbbbb"]) insertRun.run(id);
  const insertResult = sqlite.query(
    `INSERT INTO results VALUES ('20250131-235959-zzzzz', ?, 1, 'fixed', '{}', 'acc', 1, 1, 0, '/d', 'd', 'p', 'a', NULL, NULL, '{}', '[]', 1.5, ?)`,
  );
  for (const task of ["winogrande", "boolq"]) insertResult.run(task, packItems(itemsOf([1, 0.5])));
  sqlite.close();

  const store = await openStore({ path });
  expect(await store.adapter("it's")).toEqual({
    name: "it's",
    currentVersion: 1,
    lastVersion: 1,
    isPinned: false,
    createdAt: new Date(5),
    versionCount: 1,
    current: {
      adapter: "it's",
      number: 1,
      hash: "hash-1",
      path: "/x",
      source: { type: "path", path: "/x" },
      method: "lora",
      parameters: 0,
      bytes: 0,
      virtualTokens: 0,
      createdAt: new Date(5),
      publishedAt: new Date(5),
    },
  });
  expect((await store.publishedAdapters()).map(({ adapter }) => adapter.name)).toEqual(["it's", "b"]);
  expect(await store.job("one")).toMatchObject({
    state: "failed",
    request: { model: "m", training_file: "f" },
    model: "m",
    trainingFile: "f",
    error: { code: "server_error", message: "lost", param: null },
    createdAt: new Date(7),
    updatedAt: new Date(8),
  });
  expect(await store.job("two")).toMatchObject({ state: "queued", request: {}, model: "", error: null });
  expect((await store.recoverJobs(at)).map(({ id }) => id)).toEqual(["three"]);
  expect((await store.runs({ limit: 9 })).map(({ id }) => id.slice(-5))).toEqual(["bbbbb", "zzzzz"]);
  const old = await store.run("20250131-235959-z");
  expect(old.results.map(({ task }) => task)).toEqual(["winogrande", "boolq"]);
  expect(old.results[1]!.items.map(({ value }) => value)).toEqual([1, 0.5]);
  const next = await store.createRun(newRun, new Date(1000));
  await store.addResult(next, newResult("piqa", [1]));
  expect((await store.runs({ limit: 1 }))[0]!.id).toBe(next);
  await store.createVersion("b", { ...upload, hash: "hash-3" }, at, { publish: true });
  expect((await store.rollbackAdapter("b", at)).hash).toBe("hash-2");
  await store.close();
});

const upload = {
  path: null,
  source: { type: "upload" as const },
  method: "lora",
  parameters: 1,
  bytes: 1,
  virtualTokens: 0,
};

test("a file that was half upgraded by a killed process is as before, and is upgraded at the next start", async () => {
  const { path, sqlite } = oldDatabase("killed", 2);
  sqlite.run("INSERT INTO adapters VALUES ('a', '/x', 'hash', 'lora', 5)");
  sqlite.close();
  const statements = readFileSync(join(migrations, "0002_storage.sql"), "utf8").split("--> statement-breakpoint");
  // A small cache: what is not committed is written to the log, as with a large database.
  const program = `const { Database } = require("bun:sqlite"); const db = new Database(${JSON.stringify(path)});
    db.run("PRAGMA journal_mode = WAL"); db.run("PRAGMA cache_size = 1"); db.run("BEGIN");
    for (const statement of ${JSON.stringify(statements.slice(0, -3))}) db.run(statement);
    process.kill(process.pid, "SIGKILL");`;
  const child = Bun.spawn([process.execPath, "-e", program], { stdio: ["ignore", "inherit", "inherit"] });
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  const store = await openStore({ path });
  expect((await store.adapter("a")).current!.hash).toBe("hash");
  await store.close();
});

test("a database whose tables are not those of graft is an error that names it", async () => {
  const path = join(scratch, "other.sqlite");
  const other = new Database(path, { create: true });
  other.run("CREATE TABLE adapters (id INTEGER)");
  other.close();
  await expect(openStore({ path })).rejects.toThrow(
    `${path}: cannot be used as graft's database (table \`adapters\` already exists); move it away, or name another file`,
  );
});

test.each(storeKinds().filter(({ name }) => name !== "memory"))(
  "$name: several that open a new database at once all can use it",
  async (kind) => {
    const location = await kind.newLocation();
    const stores = await Promise.all(Array.from({ length: 4 }, () => openStore(location)));
    const ids = await Promise.all(stores.map((store) => store.createRun(newRun, at)));
    expect((await stores[0]!.runs({ limit: 9 })).map(({ id }) => id).toSorted()).toEqual(ids.toSorted());
    await Promise.all(stores.map((store) => store.close()));
  },
);
