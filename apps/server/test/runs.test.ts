/** Runs and results in real files: what was acknowledged stays, whoever else has the file open. */
import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { DataError, UnknownName } from "@graft/core/errors";
import { openStore, packItems, type RunFilter, unpackItems } from "../src/db/index.ts";
import { newRunId } from "../src/db/run-id.ts";
import { storeKinds, withNewStore } from "./stores.ts";
import { at, itemsOf, newResult, newRun } from "./runs.ts";

const scratch = mkdtempSync(join(tmpdir(), "runs-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let made = 0;
const newPath = (): string => join(scratch, `${made++}`, "graft.sqlite");
const later = (seconds: number): Date => new Date(at.getTime() + 1000 * seconds);

const writer = join(import.meta.dir, "fixtures/run-writer.ts");
const write = (path: string, count: number) =>
  Bun.spawn([process.execPath, writer, path, String(count)], { stdio: ["ignore", "pipe", "inherit"] });

describe.each(storeKinds())("$name", (kind) => {
  test.skipIf(kind.name === "memory")("a run with its results is there after opening again, bit for bit", async () => {
    const location = await kind.newLocation();
    const first = await openStore(location);
    const id = await first.createRun(newRun, at);
    const values = [1, 0, 0.1 + 0.2, Number.MIN_VALUE, Number.NaN, Number.NEGATIVE_INFINITY, [-1.5, 3], []];
    const figures = {
      acc: {
        value: 1 / 3,
        stderr: Number.NaN,
        interval: [0, Number.POSITIVE_INFINITY] as const,
        higherIsBetter: false,
      },
    };
    const result = { ...newResult("gsm8k", values), figures };
    await first.addResult(id, result);
    await first.addResult(id, newResult("boolq", [1]));
    await first.finishRun(id, { kernelHash: "c".repeat(64) }, later(90));
    await first.close();
    const second = await openStore(location);
    const { results, ...run } = await second.run(id);
    expect(run).toEqual({
      ...newRun,
      id,
      state: "finished",
      error: null,
      createdAt: at,
      finishedAt: later(90),
      kernelHash: "c".repeat(64),
    });
    const items = result.items.map(({ docHash: hash, value }) => ({ docHash: hash.slice(0, 16), value }));
    expect(results.map(({ task }) => task)).toEqual(["gsm8k", "boolq"]);
    expect(results[0]!).toEqual({ ...result, runId: id, items });
    await second.close();
  });

  test("a result of the same task replaces the one before, in its place", () =>
    withNewStore(kind, async (store) => {
      const id = await store.createRun(newRun, at);
      await store.addResult(id, newResult("a", [0, 0]));
      await store.addResult(id, newResult("b", [1]));
      await store.addResult(id, newResult("a", [1, 1, 1]));
      const { results } = await store.run(id);
      expect(results.map(({ task, count }) => [task, count])).toEqual([
        ["a", 3],
        ["b", 1],
      ]);
      expect(results[0]!.items.map(({ value }) => value)).toEqual([1, 1, 1]);
    }));

  test("a run ends once, and takes nothing after that", () =>
    withNewStore(kind, async (store) => {
      const id = await store.createRun(newRun, at);
      await store.failRun(id, { state: "stopped", error: "stopped" }, later(1));
      await expect(store.addResult(id, newResult("a", [1]))).rejects.toThrow(
        new DataError(`run ${id} is stopped: nothing can be added to it`),
      );
      await expect(store.finishRun(id, { kernelHash: null }, later(2))).rejects.toThrow(DataError);
      expect(await store.run(id)).toMatchObject({
        state: "stopped",
        error: "stopped",
        finishedAt: later(1),
        results: [],
      });
      await expect(store.addResult("nope", newResult("a", [1]))).rejects.toThrow(new UnknownName("no run nope"));
    }));

  test("runs are listed newest first, by limit, kind, model and task, without items", () =>
    withNewStore(kind, async (store) => {
      const eight: string[] = [];
      for (let i = 0; i < 8; i++) {
        const run = { ...newRun, kind: i === 0 ? ("study" as const) : ("eval" as const), model: `m${i % 2}` };
        eight.push(await store.createRun(run, later(i - (i % 2))));
      }
      await store.addResult(eight[2]!, newResult("boolq", [1, 0]));
      await store.addResult(eight[2]!, newResult("piqa", [1]));
      const ids = async (filter: RunFilter) => (await store.runs(filter)).map(({ id }) => eight.indexOf(id));
      expect(await ids({ limit: 100 })).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
      expect(await ids({ limit: 2 })).toEqual([7, 6]);
      expect(await ids({ limit: 2, model: "m0" })).toEqual([6, 4]);
      expect(await ids({ limit: 9, kind: "study" })).toEqual([0]);
      expect(await ids({ limit: 9, task: "piqa" })).toEqual([2]);
      expect(await ids({ limit: 9, task: "piqa", model: "m1" })).toEqual([]);
      const [run] = await store.runs({ limit: 1, task: "boolq" });
      expect(run!.results.map((result) => [result.task, "items" in result])).toEqual([
        ["boolq", false],
        ["piqa", false],
      ]);
    }));

  test("a run is found by a prefix that only it has; else near ids, or all that begin so, are named", () =>
    withNewStore(kind, async (store) => {
      await expect(store.run("x")).rejects.toThrow(new UnknownName('no run "x". Available: none'));
      const [a, b] = [await store.createRun(newRun, at), await store.createRun(newRun, later(3600))];
      expect((await store.run("20250131")).id).toBe(a);
      expect((await store.run(a)).id).toBe(a);
      await expect(store.run("2025")).rejects.toThrow(
        new UnknownName(`several runs begin with "2025"; give more of the id: ${b}, ${a}`),
      );
      const wrong = `${b.slice(0, -1)}e`;
      await expect(store.run(wrong)).rejects.toThrow(`no run "${wrong}"; did you mean ${b}`);
      await expect(store.run(wrong)).rejects.toThrow(`? Available: ${b}, ${a}`);
      for (const odd of ["", "%", "2025_131", "'", "20250131\0"])
        await expect(store.run(odd)).rejects.toThrow(UnknownName);
    }));
});

test("an id that begins another one is found", async () => {
  const path = newPath();
  const store = await openStore({ path });
  const id = await store.createRun(newRun, at);
  const other = await store.createRun(newRun, at);
  const raw = new Database(path);
  raw.run("UPDATE runs SET id = ? WHERE id = ?", [`${id}z`, other]);
  raw.close();
  expect((await store.run(id)).id).toBe(id);
  expect((await store.run(`${id}z`)).id).toBe(`${id}z`);
  await store.close();
});

test("ids sort by time and do not repeat within a second", () => {
  const ids = Array.from({ length: 200 }, () => newRunId(at));
  for (const id of ids) expect(id).toMatch(/^20250131-235959-[2-9a-z]{5}$/);
  expect(new Set(ids).size).toBeGreaterThan(198);
  const times = Array.from({ length: 50 }, (_, i) => newRunId(later(i * 86_399)));
  expect(times.toSorted()).toEqual(times);
});

test("items of 10,000 docs are small, and come back with the hashes' first 16 digits", () => {
  const items = itemsOf(Array.from({ length: 10_000 }, (_, i) => Number((i * 7919) % 13 < 5)));
  const bytes = packItems(items);
  expect(bytes.length).toBeLessThan(85_000);
  expect(unpackItems(new Uint8Array(bytes))).toEqual(
    items.map(({ docHash: hash, value }) => ({ docHash: hash.slice(0, 16), value })),
  );
  expect(unpackItems(new Uint8Array(packItems([])))).toEqual([]);
  expect(() => packItems([{ docHash: "xyz", value: 1 }])).toThrow(
    'item 1: its doc\'s hash is 16 or more hexadecimal digits, not "xyz"',
  );
});

test("items with any byte changed are an error or the same items", () => {
  const items = itemsOf([1, 0, 0.25, [1, 2]]);
  const whole = packItems(items);
  const want = unpackItems(new Uint8Array(whole));
  for (let i = 0; i < whole.length; i++) {
    const bytes = new Uint8Array(whole);
    bytes[i]! ^= 1 << (i % 8);
    let got: unknown;
    try {
      got = unpackItems(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(DataError);
      continue;
    }
    expect(got).toEqual(want);
  }
  for (const text of [
    "",
    "{}",
    "[]",
    '{"docs":"AAAA","values":[1]}',
    '{"docs":"","values":["x"]}',
    '{"docs":"","values":[null]}',
  ])
    expect(() => unpackItems(Bun.gzipSync(text))).toThrow(DataError);
});

test.each([
  ["runs", "settings", "nonsense", "runs.settings: is not JSON; the database was changed by something else"],
  ["runs", "settings", "[]", "runs.settings: the value: Invalid input: expected record, received array"],
  ["results", "figures", '{"acc":{"value":1}}', "results.figures: acc.stderr: Invalid input"],
  ["results", "contamination", '"yes"', "results.contamination: the value: Invalid input: expected array"],
  ["results", "items", "nonsense", "results.items: cannot be unpacked"],
])("a damaged %s.%s is an error that names it", async (table, column, value, message) => {
  const path = newPath();
  const store = await openStore({ path });
  const id = await store.createRun(newRun, at);
  await store.addResult(id, newResult("a", [1]));
  const raw = new Database(path);
  raw.run(`UPDATE ${table} SET ${column} = ?`, [column === "items" ? new TextEncoder().encode(value) : value]);
  raw.close();
  await expect(store.run(id)).rejects.toThrow(message);
  await store.close();
});

test("killed right after a write was acknowledged, the write is there and the file is whole", async () => {
  const path = newPath();
  const child = write(path, 100_000);
  const told: string[] = [];
  let rest = "";
  for await (const chunk of child.stdout) {
    const lines = (rest + new TextDecoder().decode(chunk)).split("\n");
    rest = lines.pop()!;
    told.push(...lines);
    if (told.length > 40) child.kill("SIGKILL");
  }
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  const [id, ...tasks] = told;
  const store = await openStore({ path });
  const { results, state } = await store.run(id!);
  expect(state).toBe("running");
  expect(results.slice(0, tasks.length).map(({ task }) => task)).toEqual(tasks);
  // At most the one that was written and not yet told.
  expect(results.length - tasks.length).toBeLessThanOrEqual(1);
  for (const [i, { items }] of results.entries()) expect(items.map(({ value }) => value)).toEqual([i, 1, 0]);
  await store.close();
  const raw = new Database(path);
  expect(raw.query("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
  raw.close();
});

test("four processes that make the same new file at once all write to it", async () => {
  const path = newPath();
  const children = Array.from({ length: 4 }, () => write(path, 5));
  const said = await Promise.all(children.map((child) => new Response(child.stdout).text()));
  expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0, 0]);
  const store = await openStore({ path });
  const listed = await store.runs({ limit: 100 });
  expect(listed.map(({ id }) => id).toSorted()).toEqual(said.map((lines) => lines.split("\n")[0]!).toSorted());
  for (const { results } of listed) expect(results.length).toBe(5);
  await store.close();
});

test("a file that is no database is an error that names it, and is left as it was", async () => {
  const path = join(scratch, "not-a-database");
  writeFileSync(path, "this is a text, and long enough to be looked at".repeat(20));
  const before = readFileSync(path);
  await expect(openStore({ path })).rejects.toThrow(DataError);
  await expect(openStore({ path })).rejects.toThrow(
    `${path}: cannot be used as graft's database (file is not a database); move it away, or name another file`,
  );
  expect(readFileSync(path).equals(before)).toBe(true);
  await expect(openStore({ path: scratch })).rejects.toThrow(`${scratch}: cannot be used`);
});

test("importing the database loads neither server nor device", async () => {
  const program = `await import("@graft/server/db"); console.log(Object.keys(require.cache).join("\\n"))`;
  const { stdout, exitCode } = Bun.spawnSync([process.execPath, "-e", program], {
    cwd: resolve(import.meta.dir, "../../cli"),
  });
  expect(exitCode).toBe(0);
  const loaded = stdout.toString();
  expect(loaded).toContain("server/src/db/store.ts");
  expect(loaded).not.toMatch(/\/hono\/|\/webgpu\/|packages\/kernels|server\/src\/(app|serve|index)\.ts/);
});
