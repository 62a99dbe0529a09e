/** Random operations: every store answers as a plain model in memory does. */
import { expect, test } from "bun:test";
import { UnknownName } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { type JobState, jobStates, type Store } from "../src/db/index.ts";
import { transitions } from "../src/db/job-state.ts";
import { ApiError } from "../src/errors.ts";
import { later, newJob, newVersion } from "./store-rows.ts";
import { storeKinds, withNewStore } from "./stores.ts";

interface ModelAdapter {
  last: number;
  readonly versions: Map<number, string>;
  history: number[];
}

interface ModelJob {
  state: JobState;
  readonly events: string[];
}

/** What the operations mean, as simply as it can be said. */
class Model {
  readonly adapters = new Map<string, ModelAdapter>();
  readonly jobs = new Map<string, ModelJob>();

  createVersion(name: string, hash: string, publish: boolean): number {
    const adapter = this.adapters.get(name) ?? { last: 0, versions: new Map(), history: [] };
    this.adapters.set(name, adapter);
    adapter.versions.set(++adapter.last, hash);
    if (publish) this.publish(name, adapter.last);
    return adapter.last;
  }

  publish(name: string, number: number): number {
    const adapter = this.known(this.adapters, name);
    if (!adapter.versions.has(number)) throw new UnknownName("version");
    if (adapter.history.at(-1) !== number) adapter.history.push(number);
    return number;
  }

  rollback(name: string): number {
    const adapter = this.known(this.adapters, name);
    const before = adapter.history.findLastIndex((number) => number !== adapter.history.at(-1));
    if (before === -1) throw new ApiError(409, "nothing before");
    adapter.history = adapter.history.slice(0, before + 1);
    return adapter.history.at(-1)!;
  }

  deleteVersion(name: string, number: number): string {
    const adapter = this.known(this.adapters, name);
    const hash = adapter.versions.get(number);
    if (hash === undefined) throw new UnknownName("version");
    if (adapter.history.at(-1) === number) throw new ApiError(409, "current");
    adapter.versions.delete(number);
    adapter.history = adapter.history.filter((other) => other !== number);
    return hash;
  }

  deleteAdapter(name: string): number {
    const { versions } = this.known(this.adapters, name);
    this.adapters.delete(name);
    return versions.size;
  }

  createJob(id: string): void {
    this.jobs.set(id, { state: "queued", events: [] });
  }

  move(id: string, to: JobState, events: readonly string[]): JobState {
    const job = this.known(this.jobs, id);
    if (!transitions[job.state].includes(to)) throw new ApiError(409, "move");
    job.state = to;
    job.events.push(...events);
    return to;
  }

  addEvents(id: string, events: readonly string[]): number {
    const job = this.known(this.jobs, id);
    job.events.push(...events);
    return job.events.length;
  }

  succeed(id: string, adapter: string, hash: string): number {
    this.move(id, "succeeded", ["done"]);
    return this.createVersion(adapter, hash, true);
  }

  recover(): number {
    const running = [...this.jobs].filter(([, { state }]) => state === "running");
    for (const [id] of running) this.move(id, "queued", ["recovered"]);
    return running.length;
  }

  known<T>(map: ReadonlyMap<string, T>, name: string): T {
    const found = map.get(name);
    if (!found) throw new UnknownName("name");
    return found;
  }
}

type Step = {
  readonly said: string;
  readonly model: (m: Model) => unknown;
  readonly store: (s: Store) => Promise<unknown>;
};

/** One random operation; the model says which jobs there are. */
function randomStep(random: Random, i: number, { jobs }: Model): Step {
  const pick = <T>(from: readonly T[]): T => from[random.int(from.length)]!;
  const at = later(i);
  const name = pick(["a", "b", "ft:base:graft::x"]);
  const number = 1 + random.int(6);
  const job = pick([...jobs.keys(), "none"]);
  const to = pick(jobStates);
  const texts = Array.from({ length: random.int(4) }, (_, k) => `event ${i}.${k}`);
  const events = texts.map((message) => ({ level: "info" as const, message }));
  const hash = `h${random.int(4)}`;
  const publish = random.int(2) === 0;
  const count = <T>(rows: readonly T[]): number => rows.length;
  const steps: (() => Step)[] = [
    () => ({
      said: `createVersion ${name} ${hash} ${publish}`,
      model: (m) => m.createVersion(name, hash, publish),
      store: async (s) => (await s.createVersion(name, newVersion(hash), at, { publish })).number,
    }),
    () => ({
      said: `publish ${name} ${number}`,
      model: (m) => m.publish(name, number),
      store: async (s) => (await s.publishVersion(name, number, at)).number,
    }),
    () => ({
      said: `rollback ${name}`,
      model: (m) => m.rollback(name),
      store: async (s) => (await s.rollbackAdapter(name, at)).number,
    }),
    () => ({
      said: `deleteVersion ${name} ${number}`,
      model: (m) => m.deleteVersion(name, number),
      store: async (s) => (await s.deleteVersion(name, number)).hash,
    }),
    () => ({
      said: `createJob ${i}`,
      model: (m) => m.createJob(`ftjob-${i}`),
      store: async (s) => void (await s.createJob(newJob(`ftjob-${i}`), at)),
    }),
    () => ({
      said: `move ${job} ${to}`,
      model: (m) => m.move(job, to, texts),
      store: async (s) => (await s.moveJob(job, to, at, { events })).state,
    }),
    () => ({
      said: `addEvents ${job} ${texts.length}`,
      model: (m) => m.addEvents(job, texts),
      store: async (s) => {
        await s.addEvents(job, events, at);
        return (await s.job(job)).lastEvent;
      },
    }),
    () => ({
      said: `succeed ${job} ${name}`,
      model: (m) => m.succeed(job, name, hash),
      store: async (s) => {
        const result = {
          adapter: name,
          version: newVersion(hash),
          events: [{ level: "info" as const, message: "done" }],
        };
        return (await s.succeedJob(job, result, at)).version.number;
      },
    }),
    () =>
      random.int(4) === 0
        ? { said: "recover", model: (m) => m.recover(), store: async (s) => count(await s.recoverJobs(at)) }
        : {
            said: `deleteAdapter ${name}`,
            model: (m) => m.deleteAdapter(name),
            store: async (s) => count(await s.deleteAdapter(name)),
          },
  ];
  // Versions are made more often than whole adapters go.
  return pick([...steps, ...steps.slice(0, -1), ...steps.slice(0, -1)])();
}

async function expectSame(model: Model, store: Store): Promise<void> {
  const { data } = await store.adapters({ limit: 100 });
  expect(data.map(({ name }) => name).toSorted()).toEqual([...model.adapters.keys()].toSorted());
  for (const { name, currentVersion, lastVersion, versionCount } of data) {
    const { history, last, versions } = model.adapters.get(name)!;
    expect({ currentVersion, lastVersion, versionCount }).toEqual({
      currentVersion: history.at(-1) ?? null,
      lastVersion: last,
      versionCount: versions.size,
    });
    const rows = await store.versions(name, { limit: 1000 });
    expect(rows.data.map(({ number, hash }) => [number, hash] as const).toReversed()).toEqual([...versions]);
  }
  const jobs = await store.jobs({ limit: 1000, order: "asc" });
  expect(jobs.data.map(({ id, state }) => [id, state])).toEqual([...model.jobs].map(([id, { state }]) => [id, state]));
  for (const { id } of jobs.data) {
    const events = await store.jobEventsSince(id, 0, 10_000);
    expect(events.map((event) => event.number)).toEqual(events.map((_, i) => i + 1));
    const said = events.map(({ message }) =>
      message.startsWith("The server was started again") ? "recovered" : message,
    );
    expect(said).toEqual(model.jobs.get(id)!.events);
  }
}

const kindOf = (error: unknown): string =>
  error instanceof UnknownName ? "UnknownName" : error instanceof ApiError ? `ApiError ${error.status}` : String(error);

for (const kind of storeKinds()) {
  test.each([1, 2])(`${kind.name}: 200 random operations say and leave what a model does, seed %d`, (seed) =>
    withNewStore(kind, async (store) => {
      const random = new Random(seed);
      const model = new Model();
      for (let i = 0; i < 200; i++) {
        const step = randomStep(random, i, model);
        let want: unknown;
        try {
          want = step.model(model);
        } catch (error) {
          want = kindOf(error);
        }
        const got = await step.store(store).catch(kindOf);
        expect({ i, said: step.said, got }).toEqual({ i, said: step.said, got: want });
        if (i % 50 === 49) await expectSame(model, store);
      }
    }),
  );
}
