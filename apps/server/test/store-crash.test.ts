/** Processes that are killed while they write, and processes that write at once: nothing that was acknowledged is lost, nothing is there by half. */
import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "@graft/core/random";
import { type JobRow, openBlobs, openStore, type Store, type StoreLocation } from "../src/db/index.ts";
import type { Acknowledged } from "./fixtures/store-writer.ts";
import { at } from "./store-rows.ts";
import { storeKinds } from "./stores.ts";

const scratch = mkdtempSync(join(tmpdir(), "crash-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const kinds = storeKinds().filter(({ name }) => name !== "memory");
const writer = join(import.meta.dir, "fixtures/store-writer.ts");

function start(location: StoreLocation, data: string, seed: number, ...count: string[]) {
  return Bun.spawn([process.execPath, writer, JSON.stringify(location), data, String(seed), ...count], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

/** What the process said until its end; it is killed after so many lines. */
async function acknowledged(
  child: ReturnType<typeof start>,
  killAfter = Number.POSITIVE_INFINITY,
): Promise<Acknowledged[]> {
  const lines: string[] = [];
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of child.stdout) {
    const parts = (rest + decoder.decode(chunk)).split("\n");
    rest = parts.pop()!;
    lines.push(...parts);
    if (lines.length >= killAfter) child.kill("SIGKILL");
  }
  await child.exited;
  return lines.map((line) => JSON.parse(line) as Acknowledged);
}

const order = ["queued", "running", "succeeded"];

async function expectKept(store: Store, said: readonly Acknowledged[]): Promise<void> {
  for (const one of said) {
    if (one.type === "file") expect((await store.file(one.id)).sha256).toBe(one.sha256);
    else if (one.type === "version") expect((await store.version(one.name, one.number)).hash).toBe(one.hash);
    else if (one.type === "events") expect((await store.job(one.job)).lastEvent).toBeGreaterThanOrEqual(one.last);
    else expect(order.indexOf((await store.job(one.id)).state)).toBeGreaterThanOrEqual(order.indexOf(one.state));
  }
}

/** Events are 1, 2, 3, ...; a job has succeeded, has its version and its last event, or none of the three. */
async function expectWhole(store: Store): Promise<void> {
  const jobs: JobRow[] = [];
  for (let page = await store.jobs({ limit: 200 }); ; page = await store.jobs({ limit: 200, after: jobs.at(-1)!.id })) {
    jobs.push(...page.data);
    if (!page.hasMore) break;
  }
  for (const { id, state, lastEvent, adapter } of jobs) {
    const events = await store.jobEventsSince(id, 0, 100_000);
    expect(events.map(({ number }) => number)).toEqual(Array.from({ length: lastEvent }, (_, i) => i + 1));
    const isDone = events.at(-1)?.message === "done";
    const versions = await store.versions(id, { limit: 9 }).then(
      ({ data }) => data.length,
      () => 0,
    );
    const hasSucceeded = state === "succeeded";
    expect({ id, isDone, versions, adapter }).toEqual({
      id,
      isDone: hasSucceeded,
      versions: hasSucceeded ? 1 : 0,
      adapter: hasSucceeded ? id : null,
    });
  }
  for (const { currentVersion, lastVersion, versionCount } of (await store.adapters({ limit: 10_000 })).data)
    expect([currentVersion, versionCount]).toEqual([lastVersion, lastVersion]);
}

test.each(kinds.map(({ name, newLocation }) => ({ name, newLocation, kills: name === "sqlite" ? 20 : 8 })))(
  "$name: killed at $kills random points, everything acknowledged is there and whole",
  async ({ name, newLocation, kills }) => {
    const location = await newLocation();
    const data = join(scratch, name);
    const random = new Random(5);
    const said: Acknowledged[] = [];
    for (let i = 0; i < kills; i++) {
      const child = start(location, data, i);
      said.push(...(await acknowledged(child, 1 + random.int(25))));
      expect(child.signalCode).toBe("SIGKILL");
    }
    const store = await openStore(location);
    await expectKept(store, said);
    await expectWhole(store);
    const blobs = openBlobs(data);
    await blobs.sweep({ files: store.isFileUsed, folders: store.isVersionUsed });
    const root = join(data, "blobs/sha256");
    const names = readdirSync(root).flatMap((first) => readdirSync(join(root, first)));
    expect(readdirSync(root).filter((first) => first.length !== 2)).toEqual([]);
    const { data: files } = await store.files({ limit: 10_000 });
    expect(new Set(names)).toEqual(new Set(files.map(({ sha256 }) => sha256)));
    for (const { sha256, bytes } of files) {
      const content = await Bun.file(blobs.path(sha256)).bytes();
      expect(content.length).toBe(bytes);
      expect(new Bun.CryptoHasher("sha256").update(content).digest("hex")).toBe(sha256);
    }
    const running = (await store.jobs({ limit: 10_000, states: ["running"] })).data.length;
    expect((await store.recoverJobs(at)).length).toBe(running);
    await store.close();
    if ("path" in location) {
      const raw = new Database(location.path);
      expect(raw.query("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
      raw.close();
    }
  },
  120_000,
);

test.each(kinds)("$name: three processes that write at once all get their numbers", async ({ newLocation }) => {
  const location = await newLocation();
  const children = [101, 102, 103].map((seed) => start(location, "", seed, "40"));
  const said = (await Promise.all(children.map((child) => acknowledged(child)))).flat();
  expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0]);
  const store = await openStore(location);
  await expectKept(store, said);
  await expectWhole(store);
  const numbers = said.flatMap((one) => (one.type === "version" ? [`${one.name} ${one.number}`] : []));
  expect(new Set(numbers).size).toBe(numbers.length);
  await store.close();
});
