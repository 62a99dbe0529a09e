/** What every store must do, on SQLite and on a real Postgres. */
import { describe, expect, test } from "bun:test";
import { DataError, UnknownName } from "@graft/core/errors";
import { type JobProgress, type JobState, jobStates, openStore, StorageError } from "../src/db/index.ts";
import { assertTransition, isFinal, transitions } from "../src/db/job-state.ts";
import { ApiError } from "../src/errors.ts";
import { at, later, newFile, newJob, newKey, newVersion } from "./store-rows.ts";
import { storeKinds, withNewStore } from "./stores.ts";

const kinds = storeKinds();

test("jobs move only as the table says", () => {
  const allowed: Record<JobState, string> = {
    queued: "running paused cancelled failed",
    running: "succeeded failed cancelled paused queued",
    paused: "queued cancelled",
    succeeded: "",
    failed: "",
    cancelled: "",
  };
  for (const from of jobStates) {
    expect(transitions[from].join(" ")).toBe(allowed[from]);
    expect(isFinal(from)).toBe(allowed[from] === "");
    for (const to of jobStates) {
      if (allowed[from].split(" ").includes(to)) assertTransition(from, to);
      else
        expect(() => assertTransition(from, to)).toThrow(
          new ApiError(409, `a job that is ${from} cannot become ${to}`),
        );
    }
  }
});

describe.each(kinds)("$name", (kind) => {
  const isKept = kind.name !== "memory";

  test.skipIf(!isKept)("everything is there after opening again", async () => {
    const location = await kind.newLocation();
    const first = await openStore(location);
    await first.createVersion("a", newVersion("h1"), at, { publish: true });
    await first.createFile(newFile("file-1"));
    await first.createKey(newKey("key-1"));
    await first.createJob(newJob("ftjob-1"), at, [{ level: "info", message: "created" }]);
    await first.addCheckpoint(
      "ftjob-1",
      { step: 10, path: "/x", metrics: { loss: Number.NaN, valid: null } },
      later(1),
    );
    const read = async (store: typeof first) => ({
      adapter: await store.adapter("a"),
      file: await store.file("file-1"),
      keys: await store.keys(),
      job: await store.job("ftjob-1"),
      events: await store.jobEvents("ftjob-1", { limit: 9 }),
      checkpoints: await store.checkpoints("ftjob-1", { limit: 9 }),
    });
    const before = await read(first);
    await first.close();
    const second = await openStore(location);
    expect(await read(second)).toEqual(before);
    expect(before.file).toEqual(newFile("file-1"));
    expect(before.job).toMatchObject({ ...newJob("ftjob-1"), state: "queued", lastEvent: 1, createdAt: at });
    expect(before.checkpoints.data[0]).toEqual({
      id: "ftckpt-1-10",
      job: "ftjob-1",
      step: 10,
      path: "/x",
      metrics: { loss: Number.NaN, valid: null },
      at: later(1),
    });
    await second.close();
  });

  test("versions are numbered, published, rolled back and deleted", () =>
    withNewStore(kind, async (store) => {
      const path = newVersion("h2", { path: "/somewhere", source: { type: "path", path: "/somewhere" } });
      expect(await store.createVersion("a", newVersion("h1"), at)).toEqual({
        ...newVersion("h1"),
        adapter: "a",
        number: 1,
        createdAt: at,
        publishedAt: null,
      });
      expect((await store.adapter("a")).current).toBeNull();
      expect(await store.publishedAdapters()).toEqual([]);
      await expect(store.rollbackAdapter("a", at)).rejects.toThrow("no other version was published before");
      expect((await store.createVersion("a", path, later(1), { publish: true })).publishedAt).toEqual(later(1));
      await store.publishVersion("a", 1, later(2));
      await store.publishVersion("a", 1, later(3));
      await store.publishVersion("a", 2, later(4));
      expect((await store.adapter("a")).current).toMatchObject({
        number: 2,
        source: path.source,
        publishedAt: later(4),
      });
      expect((await store.rollbackAdapter("a", later(5))).number).toBe(1);
      expect((await store.rollbackAdapter("a", later(6))).number).toBe(2);
      await expect(store.rollbackAdapter("a", later(7))).rejects.toThrow(ApiError);
      await expect(store.publishVersion("a", 3, at)).rejects.toThrow(new UnknownName('adapter "a" has no version 3'));
      await expect(store.publishVersion("b", 1, at)).rejects.toThrow(new UnknownName('no adapter "b"'));
      await expect(store.deleteVersion("a", 2)).rejects.toThrow(
        'adapter "a": version 2 is the current one; publish another one first',
      );
      expect((await store.deleteVersion("a", 1)).hash).toBe("h1");
      expect((await store.createVersion("a", newVersion("h3"), later(8))).number).toBe(3);
      expect((await store.versions("a", { limit: 1 })).data.map(({ number }) => number)).toEqual([3]);
      expect(await store.versions("a", { limit: 1, after: 3 })).toMatchObject({
        data: [{ number: 2 }],
        hasMore: false,
      });
      expect(await store.adapter("a")).toMatchObject({ currentVersion: 2, lastVersion: 3, versionCount: 2 });
      expect((await store.deleteAdapter("a")).map(({ number }) => number)).toEqual([3, 2]);
      await expect(store.adapter("a")).rejects.toThrow(UnknownName);
      await expect(store.deleteAdapter("a")).rejects.toThrow(UnknownName);
      // A name that comes again begins anew.
      expect((await store.createVersion("a", newVersion("h1"), at)).number).toBe(1);
    }));

  test("an adapter that is unpublished keeps its versions, and a rollback brings the last one back", () =>
    withNewStore(kind, async (store) => {
      for (const hash of ["h1", "h2"]) await store.createVersion("a", newVersion(hash), at, { publish: true });
      expect((await store.previousVersion("a")).number).toBe(1);
      await store.unpublishAdapter("a");
      expect(await store.adapter("a")).toMatchObject({ currentVersion: null, current: null, versionCount: 2 });
      expect(await store.publishedAdapters()).toEqual([]);
      expect((await store.previousVersion("a")).number).toBe(2);
      expect((await store.rollbackAdapter("a", later(1))).number).toBe(2);
      expect((await store.rollbackAdapter("a", later(2))).number).toBe(1);
      await expect(store.previousVersion("a")).rejects.toThrow("no other version was published before");
      for (const method of ["previousVersion", "unpublishAdapter"] as const)
        await expect(store[method]("b")).rejects.toThrow(new UnknownName('no adapter "b"'));
      expect((await store.findAdapter("a"))!.currentVersion).toBe(1);
      expect(await store.findAdapter("b")).toBeUndefined();
    }));

  test("a rollback after a version was deleted goes to another one, not to the same", () =>
    withNewStore(kind, async (store) => {
      for (const hash of ["h1", "h2", "h3"]) await store.createVersion("a", newVersion(hash), at);
      for (const number of [3, 1, 2, 1]) await store.publishVersion("a", number, at);
      await store.deleteVersion("a", 2);
      expect((await store.rollbackAdapter("a", at)).number).toBe(3);
      await expect(store.rollbackAdapter("a", at)).rejects.toThrow(ApiError);
    }));

  test("hashes: found by name, and known to be used only where the files are ours", () =>
    withNewStore(kind, async (store) => {
      await store.createVersion("a", newVersion("h1"), at);
      await store.createVersion("a", newVersion("h1"), at);
      await store.createVersion("a", newVersion("h2", { path: "/x" }), at);
      expect((await store.findVersionByHash("a", "h1"))!.number).toBe(2);
      expect(await store.findVersionByHash("b", "h1")).toBeUndefined();
      expect([await store.isVersionUsed("h1"), await store.isVersionUsed("h2")]).toEqual([true, false]);
      const facts = { hash: "h9", method: "ia3", parameters: 1, bytes: 2, virtualTokens: 3 };
      expect(await store.describeVersion("a", 3, facts)).toMatchObject({ ...facts, number: 3, path: "/x" });
      await expect(store.describeVersion("a", 4, facts)).rejects.toThrow(UnknownName);
      await expect(store.version("a", Number.MAX_VALUE)).rejects.toThrow(UnknownName);
      await expect(store.version("a", 1.5)).rejects.toThrow(UnknownName);
    }));

  test("adapters are listed newest first, in pages that new ones do not shift", () =>
    withNewStore(kind, async (store) => {
      for (let i = 0; i < 7; i++)
        await store.createVersion(`a${i}`, newVersion(`h${i}`), later(i >> 1), { publish: i % 3 === 0 });
      const first = await store.adapters({ limit: 3 });
      await store.createVersion("new", newVersion("h"), later(100));
      const second = await store.adapters({ limit: 3, after: first.data.at(-1)!.name });
      const third = await store.adapters({ limit: 3, after: second.data.at(-1)!.name });
      const names = [first, second, third].map(({ data, hasMore }) => [...data.map(({ name }) => name), hasMore]);
      expect(names).toEqual([
        ["a6", "a5", "a4", true],
        ["a3", "a2", "a1", true],
        ["a0", false],
      ]);
      expect(first.data.map(({ current }) => current?.hash ?? null)).toEqual(["h6", null, null]);
      await expect(store.adapters({ limit: 3, after: "a9" })).rejects.toThrow(UnknownName);
      expect((await store.publishedAdapters()).map(({ adapter, version }) => [adapter.name, version.hash])).toEqual([
        ["a0", "h0"],
        ["a3", "h3"],
        ["a6", "h6"],
      ]);
      expect((await store.pinAdapter("a3", true)).isPinned).toBe(true);
      expect((await store.adapter("a3")).isPinned).toBe(true);
      await expect(store.pinAdapter("a9", true)).rejects.toThrow(UnknownName);
    }));

  test("files: listed by purpose and in both orders, deleted, and known by their bytes", () =>
    withNewStore(kind, async (store) => {
      for (let i = 0; i < 5; i++)
        await store.createFile(newFile(`file-${i}`, { createdAt: later(i), purpose: i === 2 ? "batch" : "fine-tune" }));
      const ids = async (filter: Parameters<typeof store.files>[0]) => {
        const { data, hasMore } = await store.files(filter);
        return [...data.map(({ id }) => id.slice(5)), hasMore].join(" ");
      };
      expect(await ids({ limit: 2 })).toBe("4 3 true");
      expect(await ids({ limit: 9, after: "file-3" })).toBe("2 1 0 false");
      expect(await ids({ limit: 9, after: "file-3", purpose: "fine-tune" })).toBe("1 0 false");
      expect(await ids({ limit: 2, order: "asc", after: "file-1" })).toBe("2 3 true");
      await expect(store.files({ limit: 1, after: "nope" })).rejects.toThrow(new UnknownName("no file nope"));
      expect((await store.deleteFile("file-4")).sha256).toBe("a".repeat(64));
      await expect(store.deleteFile("file-4")).rejects.toThrow(UnknownName);
      await expect(store.file("file-4")).rejects.toThrow(UnknownName);
      expect(await store.isFileUsed("a".repeat(64))).toBe(true);
      expect(await store.isFileUsed("b".repeat(64))).toBe(false);
    }));

  test("a job goes its way, with every move's events; a refused move changes nothing", () =>
    withNewStore(kind, async (store) => {
      await store.createJob(newJob("ftjob-1"), at, [{ level: "info", message: "created" }]);
      const running = await store.moveJob("ftjob-1", "running", later(1), {
        events: [
          { level: "info", message: "a zero\0byte" },
          { level: "warn", message: "second" },
        ],
      });
      expect(running).toMatchObject({ state: "running", startedAt: later(1), finishedAt: null, lastEvent: 3 });
      const refused = store.moveJob("ftjob-1", "running", later(2), { events: [{ level: "info", message: "no" }] });
      await expect(refused).rejects.toThrow(new ApiError(409, "a job that is running cannot become running"));
      await expect(store.moveJob("nope", "running", at)).rejects.toThrow(new UnknownName("no job nope"));
      expect(await store.job("ftjob-1")).toEqual(running);
      const progress: JobProgress = {
        step: 5,
        totalSteps: 10,
        loss: Number.POSITIVE_INFINITY,
        trainedTokens: 2 ** 40,
        estimatedFinish: 1_800_000_000,
      };
      const events = await store.addEvents(
        "ftjob-1",
        [
          {
            level: "info",
            type: "metrics",
            message: "step 5",
            data: { step: 5, train_loss: 0.1 + 0.2, valid_loss: null },
          },
          { level: "info", message: "more" },
        ],
        later(3),
        progress,
      );
      expect(events.map(({ id, number }) => [id, number])).toEqual([
        ["ftevent-1-4", 4],
        ["ftevent-1-5", 5],
      ]);
      expect((await store.job("ftjob-1")).progress).toEqual(progress);
      const page = await store.jobEvents("ftjob-1", { limit: 2, after: "ftevent-1-4" });
      expect(page).toMatchObject({ hasMore: true, data: [{ number: 3 }, { number: 2, message: "a zero\uFFFDbyte" }] });
      expect(await store.jobEventsSince("ftjob-1", 3, 1)).toEqual([events[0]!]);
      expect(events[0]!.data).toEqual({ step: 5, train_loss: 0.1 + 0.2, valid_loss: null });
      for (const after of ["ftevent-1-6", "ftevent-2-1", "ftevent-1-x", "ftevent-1--1", "ftevent-1-NaN", "1", ""])
        await expect(store.jobEvents("ftjob-1", { limit: 1, after })).rejects.toThrow(UnknownName);
      const failed = await store.moveJob("ftjob-1", "failed", later(4), {
        error: { code: "server_error", message: "the device was lost", param: null },
      });
      expect(failed).toMatchObject({
        startedAt: later(1),
        finishedAt: later(4),
        error: { message: "the device was lost" },
      });
      await expect(store.addEvents("nope", [], at)).rejects.toThrow(UnknownName);
      await expect(store.jobEvents("nope", { limit: 1 })).rejects.toThrow(UnknownName);
      await expect(store.jobEventsSince("nope", 0, 1)).rejects.toThrow(UnknownName);
    }));

  test("a job that succeeds is a published version in the same transaction; one that may not makes none", () =>
    withNewStore(kind, async (store) => {
      await store.createJob(newJob("ftjob-1"), at);
      const result = {
        adapter: "ft:base:graft::1",
        version: newVersion("h1", { source: { type: "job", job: "ftjob-1", step: null } }),
        events: [{ level: "info" as const, message: "done" }],
      };
      await expect(store.succeedJob("ftjob-1", result, later(1))).rejects.toThrow(ApiError);
      await expect(store.adapter(result.adapter)).rejects.toThrow(UnknownName);
      await store.moveJob("ftjob-1", "running", later(1));
      const { job, version } = await store.succeedJob("ftjob-1", result, later(2));
      expect(job).toMatchObject({
        state: "succeeded",
        adapter: result.adapter,
        adapterVersion: 1,
        finishedAt: later(2),
      });
      expect((await store.adapter(result.adapter)).current).toEqual(version);
      expect((await store.jobEvents("ftjob-1", { limit: 9 })).data.map(({ message }) => message)).toEqual(["done"]);
      await expect(store.succeedJob("ftjob-1", result, later(3))).rejects.toThrow("succeeded cannot become succeeded");
      expect((await store.adapter(result.adapter)).versionCount).toBe(1);
    }));

  test("a start puts what ran back into the queue, with an event; jobs are listed and counted by state", () =>
    withNewStore(kind, async (store) => {
      for (let i = 0; i < 4; i++) await store.createJob(newJob(`ftjob-${i}`), later(i));
      await store.moveJob("ftjob-1", "running", later(9));
      await store.moveJob("ftjob-3", "running", later(9));
      await store.moveJob("ftjob-2", "cancelled", later(9));
      expect(await store.countJobs()).toEqual({ queued: 1, running: 2, cancelled: 1 });
      expect((await store.recoverJobs(later(10))).map(({ id, state }) => `${id} ${state}`)).toEqual([
        "ftjob-1 queued",
        "ftjob-3 queued",
      ]);
      expect(await store.recoverJobs(later(11))).toEqual([]);
      expect((await store.jobEvents("ftjob-3", { limit: 1 })).data[0]).toMatchObject({ level: "warn", number: 1 });
      const ids = async (filter: Parameters<typeof store.jobs>[0]) =>
        (await store.jobs(filter)).data.map(({ id }) => id.slice(-1)).join("");
      expect(await ids({ limit: 9 })).toBe("3210");
      expect(await ids({ limit: 1, states: ["queued"], order: "asc" })).toBe("0");
      expect(await ids({ limit: 9, states: ["queued", "cancelled"], after: "ftjob-3" })).toBe("210");
      expect(await ids({ limit: 9, states: [] })).toBe("");
      await expect(store.jobs({ limit: 1, after: "x" })).rejects.toThrow(UnknownName);
    }));

  test("checkpoints: by step, saved again in place", () =>
    withNewStore(kind, async (store) => {
      await store.createJob(newJob("ftjob-1"), at);
      for (const step of [10, 20, 30, 20])
        await store.addCheckpoint(
          "ftjob-1",
          { step, path: `/${step}`, metrics: { train_loss: 1 / step } },
          later(step),
        );
      const first = await store.checkpoints("ftjob-1", { limit: 2 });
      expect(first.data.map(({ id }) => id)).toEqual(["ftckpt-1-30", "ftckpt-1-20"]);
      const second = await store.checkpoints("ftjob-1", { limit: 2, after: "ftckpt-1-20" });
      expect(second).toMatchObject({ hasMore: false, data: [{ step: 10, metrics: { train_loss: 0.1 } }] });
      await expect(store.addCheckpoint("x", { step: 1, path: "", metrics: {} }, at)).rejects.toThrow(UnknownName);
      await expect(store.checkpoints("ftjob-1", { limit: 2, after: "ftckpt-2-1" })).rejects.toThrow(UnknownName);
      const [newest] = first.data;
      await store.deleteCheckpoint("ftjob-1", newest!.step);
      await store.deleteCheckpoint("ftjob-1", newest!.step);
      expect((await store.checkpoints("ftjob-1", { limit: 9 })).data.map(({ step }) => step)).not.toContain(
        newest!.step,
      );
    }));

  test("keys: found by hash until they are revoked; their use is noted to the minute", async () => {
    let time = later(5);
    const store = await openStore(await kind.newLocation(), { now: () => time });
    expect(await store.keyBook.hasKeys()).toBe(false);
    const key = await store.createKey(newKey("key-1", { scopes: ["train", "infer"] }));
    expect(key).toEqual({ ...newKey("key-1", { scopes: ["train", "infer"] }), lastUsedAt: null, revokedAt: null });
    await store.createKey(newKey("key-2", { createdAt: later(1) }));
    expect((await store.keys()).map(({ id }) => id)).toEqual(["key-2", "key-1"]);
    const { id: _id, hash: _hash, prefix: _prefix, createdAt: _at, ...own } = newKey("");
    expect(await store.keyBook.find("hash of key-1")).toEqual({ ...own, keyId: "key-1", scopes: ["train", "infer"] });
    const used = async () => (await store.findKey("hash of key-1"))?.lastUsedAt;
    expect(await used()).toEqual(later(5));
    time = later(64);
    await store.keyBook.find("hash of key-1");
    expect(await used()).toEqual(later(5));
    time = later(65);
    await store.keyBook.find("hash of key-1");
    expect(await used()).toEqual(later(65));
    await store.revokeKey("key-1", later(70));
    expect(await store.keyBook.find("hash of key-1")).toBeUndefined();
    await expect(store.revokeKey("key-1", later(70))).rejects.toThrow(new UnknownName("no key key-1"));
    expect(await store.keyBook.hasKeys()).toBe(true);
    await store.revokeKey("key-2", later(70));
    expect(await store.keyBook.hasKeys()).toBe(false);
    expect(await store.keys()).toEqual([]);
    await store.close();
  });

  test("calls at the same time: numbers have no gap, one of several moves wins", () =>
    withNewStore(kind, async (store) => {
      await store.createJob(newJob("ftjob-1"), at);
      const versions = await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          store.createVersion("a", newVersion(`h${i}`), at, { publish: i % 2 === 0 }),
        ),
      );
      expect(versions.map(({ number }) => number).toSorted((a, b) => a - b)).toEqual(
        Array.from({ length: 20 }, (_, i) => i + 1),
      );
      const events = Array.from({ length: 20 }, (_, i) =>
        store.addEvents(
          "ftjob-1",
          Array.from({ length: 1 + (i % 3) }, () => ({ level: "info", message: `${i}` })),
          at,
        ),
      );
      const numbers = (await Promise.all(events)).flat().map(({ number }) => number);
      expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: numbers.length }, (_, i) => i + 1));
      const moves = await Promise.allSettled(Array.from({ length: 5 }, () => store.moveJob("ftjob-1", "running", at)));
      expect(moves.filter(({ status }) => status === "fulfilled").length).toBe(1);
    }));

  test("a failed write says where, and nothing of the SQL; what follows works", () =>
    withNewStore(kind, async (store) => {
      await store.createKey(newKey("key-1"));
      const again = await store.createKey(newKey("key-1")).catch((error: unknown) => error);
      expect(again).toBeInstanceOf(StorageError);
      expect((again as Error).message).not.toMatch(/insert into|hash of|s3cret/);
      expect((await store.keys()).length).toBe(1);
    }));

  test("names are what they are, whatever is in them", () =>
    withNewStore(kind, async (store) => {
      for (const name of ["'; DROP TABLE adapters; --", "ft:base:graft:ü:1", "a/b", "A", "a", " ", "%", "日本語"]) {
        await store.createVersion(name, newVersion("h"), at, { publish: true });
        expect((await store.adapter(name)).name).toBe(name);
      }
      expect((await store.adapters({ limit: 100 })).data.length).toBe(8);
      // SQLite takes it, Postgres cannot: then it is the caller's mistake, not the database's.
      const zero = await store.createVersion("a\0b", newVersion("h"), at).catch((error: unknown) => error);
      if (kind.name === "postgres") {
        expect(zero).toBeInstanceOf(DataError);
        expect((zero as Error).message).toBe("text with a zero byte in it cannot be kept");
      } else expect(zero).toMatchObject({ adapter: "a\0b" });
    }));
});
