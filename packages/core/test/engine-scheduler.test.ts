/** The engine's scheduler against a device that is imagined: what stands in each slot of each page is known, and a wrong key or value is seen. */
import { expect, test } from "bun:test";
import { FairQueue, NEW_COST, PROMPT_COST } from "../src/engine/fair-queue.ts";
import { type Job, type Pass, Scheduler, type SchedulerLimits } from "../src/engine/scheduler.ts";
import { EngineBusy } from "../src/errors/index.ts";
import { Random } from "../src/random/index.ts";

interface Request extends Job {
  readonly name: string;
  ids: number[];
  readonly newTokens: number;
  arrivedInPass: number;
}

/** What follows some ids under a version: any function of all of them. */
function follower(version: string, ids: readonly number[]): number {
  let hash = 7;
  for (const char of version) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193);
  for (const id of ids) hash = Math.imul(hash ^ (id + 1000), 0x01000193);
  return (hash >>> 8) % 3;
}

const request = (name: string, more: Partial<Request> & { ids: number[]; newTokens: number }): Request => {
  const { ids, newTokens, virtualTokens = 0 } = more;
  return {
    name,
    adapter: "",
    version: "",
    group: "",
    virtualTokens,
    promptLength: ids.length,
    maxLength: ids.length + newTokens,
    mayReuse: true,
    arrivedInPass: 0,
    ...more,
  };
};

/** Pages of slots; a slot knows the version and all ids up to its own. */
class Memory {
  #slots = new Map<number, string>();
  #pageSize: number;

  constructor(pageSize: number) {
    this.#pageSize = pageSize;
  }

  /** Throws unless each row finds what it attends to, and no two rows write to one slot. */
  run({ chosen }: Pass<Request>): void {
    const written = new Set<number>();
    const content = ({ version, ids }: Request, position: number) => `${version}:${ids.slice(0, position + 1).join()}`;
    const slot = (pages: readonly number[], position: number) =>
      pages[Math.floor(position / this.#pageSize)]! * this.#pageSize + (position % this.#pageSize);
    for (const { job, from, tokens, pages } of chosen) {
      for (let position = from; position < from + tokens; position++) {
        const at = slot(pages, position);
        if (!(at >= 0)) throw new Error(`${job.name} has no page for position ${position}`);
        if (written.has(at)) throw new Error(`${job.name} writes to slot ${at} as another does`);
        written.add(at);
        this.#slots.set(at, content(job, position));
      }
    }
    for (const { job, from, tokens, pages } of chosen)
      for (let position = 0; position < from + tokens; position++)
        if (this.#slots.get(slot(pages, position)) !== content(job, position))
          throw new Error(`${job.name} finds something else at position ${position}`);
  }

  /** What a pass that failed leaves behind. */
  spoil({ pages, from, tokens }: Pass<Request>["chosen"][number]): void {
    for (let position = from; position < from + tokens; position++)
      this.#slots.set(
        pages[Math.floor(position / this.#pageSize)]! * this.#pageSize + (position % this.#pageSize),
        "spoilt",
      );
  }
}

/** Extends who is at the end of its ids. Returns those that have all they asked for. */
function extend({ chosen }: Pass<Request>, isOver: (job: Request) => boolean): Request[] {
  const done: Request[] = [];
  for (const { job, from, tokens } of chosen) {
    if (isOver(job) || from + tokens < job.ids.length) continue;
    job.ids.push(follower(job.version, job.ids));
    if (job.ids.length === job.maxLength) done.push(job);
  }
  return done;
}

function simulate(seed: number, limits: SchedulerLimits, steps: number) {
  const random = new Random(seed);
  const memory = new Memory(limits.pageSize);
  const adapters = ["", "a", "b", "c", "d"];
  /** Versions on the device, with how many requests run on each; those on their way, with the pass that brings them. */
  const there = new Map<string, number>([["", 0]]);
  const coming = new Map<string, number>();
  let passes = 0;
  let now = 0;
  let entered = 0;
  const scheduler = new Scheduler<Request>(limits, {
    enter({ version }) {
      if (!there.has(version)) {
        if (!coming.has(version)) coming.set(version, passes + random.int(6));
        return false;
      }
      there.set(version, there.get(version)! + 1);
      entered++;
      return true;
    },
    leave({ version }) {
      there.set(version, there.get(version)! - 1);
      entered--;
    },
  });
  const open = new Map<Request, { readonly prompt: readonly number[]; progressed: number }>();
  const outcomes = { finished: 0, cancelled: 0, failed: 0, expired: 0, busy: 0 };
  let count = 0;
  let longestWait = 0;
  const end = (job: Request, how: keyof typeof outcomes): void => {
    if (!open.delete(job)) throw new Error(`${job.name} ends twice`);
    outcomes[how]++;
    scheduler.remove(job);
    scheduler.remove(job);
  };
  const arrive = (): void => {
    const adapter = adapters[random.int(adapters.length)]!;
    const version = adapter === "" ? "" : `${adapter}${random.int(2)}`;
    const virtualTokens = adapter === "b" ? 2 : 0;
    const most = Math.min(40, limits.pages * limits.pageSize - 12);
    // Few different tokens and common beginnings, so that prefixes are often shared.
    const beginning = Array.from({ length: random.int(3) * 6 }, (_, i) => i % 2);
    const prompt = [...beginning, ...Array.from({ length: 1 + random.int(12) }, () => random.int(3))].slice(0, most);
    const ids = [...Array.from({ length: virtualTokens }, (_, v) => -(v + 1)), ...prompt];
    const newTokens = 1 + random.int(10);
    const deadline = random.int(8) === 0 ? now + random.int(60) : undefined;
    const job = request(`request ${count++} of seed ${seed}`, {
      adapter,
      version,
      // Versions of d can share a pass with nobody.
      group: adapter === "d" ? version : "",
      virtualTokens,
      ids,
      newTokens,
      mayReuse: random.int(5) !== 0,
      deadline,
      arrivedInPass: passes,
    });
    try {
      scheduler.add(job);
      open.set(job, { prompt: [...ids], progressed: passes });
    } catch (error) {
      if (!(error instanceof EngineBusy)) throw error;
      expect(error.retryAfterSeconds).toBeGreaterThanOrEqual(1);
      outcomes.busy++;
    }
  };
  const cancelSome = (): void => {
    const jobs = [...open.keys()];
    if (jobs.length > 0 && random.int(12) === 0) end(jobs[random.int(jobs.length)]!, "cancelled");
  };
  const expireSome = (): void => {
    for (const job of scheduler.expire(now)) {
      expect(job.deadline!).toBeLessThanOrEqual(now);
      end(job, "expired");
    }
  };
  const step = (isArriving: boolean): void => {
    if (isArriving && open.size < 40) for (let n = random.int(3); n > 0; n--) arrive();
    cancelSome();
    expireSome();
    for (const [version, when] of coming)
      if (when <= passes) {
        coming.delete(version);
        there.set(version, 0);
      }
    for (const [version, users] of there)
      if (version !== "" && users === 0 && random.int(9) === 0) there.delete(version);
    const runningBefore = new Set(scheduler.running);
    const oldest = [...open.keys()].find((job) => runningBefore.has(job));
    const pass = scheduler.next(now);
    if (oldest) expect(scheduler.running).toContain(oldest);
    passes++;
    now += random.int(3);
    const { running, waiting, pagesHeld, pagesKept, waitingTokens } = scheduler.stats();
    expect(running + waiting).toBe(open.size);
    expect(entered).toBe(running);
    expect(running).toBeLessThanOrEqual(limits.maxSequences);
    expect(pagesHeld + pagesKept).toBeLessThanOrEqual(limits.pages);
    expect(waitingTokens).toBe(scheduler.waiting.reduce((sum, { maxLength }) => sum + maxLength, 0));
    expect(scheduler.waiting.length).toBe(waiting);
    if (!pass) {
      // Only adapters on their way, or nothing at all, can be the reason.
      expect(running).toBe(0);
      for (const { version } of scheduler.waiting) expect(coming.has(version) || there.has(version)).toBe(true);
      return;
    }
    const { chosen } = pass;
    expect(chosen.length).toBeGreaterThan(0);
    expect(chosen.length).toBeLessThanOrEqual(limits.maxSequences);
    expect(chosen.reduce((sum, { tokens }) => sum + tokens, 0)).toBeLessThanOrEqual(limits.maxRows);
    expect(new Set(chosen.map(({ job }) => job.group)).size).toBe(1);
    expect(new Set(chosen.map(({ job }) => job)).size).toBe(chosen.length);
    for (const { job, tokens } of chosen) {
      expect(tokens).toBeGreaterThan(0);
      if (!job.mayReuse) expect(scheduler.cachedTokens(job)).toBe(0);
      open.get(job)!.progressed = passes;
    }
    memory.run(pass);
    // While the pass runs.
    cancelSome();
    expireSome();
    const failed = new Set(chosen.filter(() => random.int(40) === 0).map(({ job }) => job));
    for (const one of chosen) if (failed.has(one.job)) memory.spoil(one);
    scheduler.end(pass, now, failed);
    for (const job of failed) if (open.has(job)) end(job, "failed");
    for (const job of extend(pass, (one) => !open.has(one))) {
      const { prompt } = open.get(job)!;
      const alone = [...prompt];
      for (let i = 0; i < job.newTokens; i++) alone.push(follower(job.version, alone));
      expect(job.ids).toEqual(alone);
      end(job, "finished");
    }
    for (const { progressed } of open.values()) longestWait = Math.max(longestWait, passes - progressed);
  };
  for (let i = 0; i < steps; i++) step(true);
  // Everything that is there comes to its end.
  for (let i = 0; open.size > 0; i++) {
    if (i > 3000) throw new Error(`${open.size} requests do not end`);
    step(false);
  }
  const stats = scheduler.stats();
  expect(stats).toMatchObject({ running: 0, waiting: 0, waitingTokens: 0, pagesHeld: 0 });
  expect(entered).toBe(0);
  return { outcomes, stats, longestWait };
}

const configurations: SchedulerLimits[] = [
  { pages: 64, pageSize: 4, maxRows: 32, maxSequences: 8 },
  // Pages run out all the time.
  { pages: 14, pageSize: 4, maxRows: 16, maxSequences: 8 },
  { pages: 60, pageSize: 1, maxRows: 7, maxSequences: 5 },
  // More that decode than rows.
  { pages: 200, pageSize: 3, maxRows: 4, maxSequences: 16, maxWaitingTokens: 300 },
  { pages: 14, pageSize: 4, maxRows: 1, maxSequences: 4 },
  { pages: 20, pageSize: 4, maxRows: 16, maxSequences: 8, prefixCache: false },
];

test.each(configurations)("whatever comes, nothing is lost, mixed up, kept or left waiting: %o", (limits) => {
  const totals = { finished: 0, cancelled: 0, failed: 0, expired: 0, busy: 0, preemptions: 0, cached: 0, longest: 0 };
  for (let seed = 1; seed <= 4; seed++) {
    try {
      const { outcomes, stats, longestWait } = simulate(seed, limits, 1500);
      for (const key of ["finished", "cancelled", "failed", "expired", "busy"] as const) totals[key] += outcomes[key];
      totals.preemptions += stats.preemptions;
      totals.cached += stats.cachedPromptTokens;
      totals.longest = Math.max(totals.longest, longestWait);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }
  for (const key of ["finished", "cancelled", "failed", "expired"] as const) expect(totals[key]).toBeGreaterThan(10);
  expect(totals.busy > 0).toBe(limits.maxWaitingTokens !== undefined);
  expect(totals.cached > 0).toBe(limits.prefixCache !== false);
  if (limits.pages * limits.pageSize <= 60) expect(totals.preemptions).toBeGreaterThan(0);
  // 40 requests of at most 54 tokens each, all of them before this one, one row each pass.
  expect(totals.longest).toBeLessThan(40 * 54);
});

/** Runs passes until `isDone`; every pass takes 10 ms. */
function drive(scheduler: Scheduler<Request>, each: (pass: Pass<Request>) => void, isDone: () => boolean): void {
  for (let now = 0; !isDone(); now += 10) {
    const pass = scheduler.next(now);
    if (!pass) throw new Error("nothing runs");
    each(pass);
    scheduler.end(pass, now + 10);
    for (const job of extend(pass, () => false)) scheduler.remove(job);
  }
}

const open = { enter: () => true, leave: () => undefined };

test("two adapters that always have something waiting are served alike, however greedy one is", () => {
  const limits = { pages: 64, pageSize: 4, maxRows: 32, maxSequences: 6, prefixCache: false };
  const scheduler = new Scheduler<Request>(limits, open);
  const random = new Random(3);
  const served = { greedy: 0, modest: 0 };
  const longestPrompt = 30;
  const feed = (): void => {
    for (const [adapter, ahead] of [
      ["greedy", 50],
      // Never none, also when all sequences of a pass are its own: else it is not backlogged, and has no claim.
      ["modest", limits.maxSequences + 2],
    ] as const)
      while (scheduler.waiting.filter((job) => job.adapter === adapter).length < ahead) {
        const length = adapter === "greedy" ? longestPrompt : 3;
        const ids = Array.from({ length }, () => random.int(3));
        const newTokens = adapter === "greedy" ? 30 : 1 + random.int(20);
        scheduler.add(request(adapter, { adapter, version: adapter, ids, newTokens }));
      }
  };
  // Sheng et al. 2024, theorem 4.4: between any two moments, of what is in the batch at the most.
  const bound = 2 * Math.max(PROMPT_COST * longestPrompt, NEW_COST * limits.pages * limits.pageSize);
  let [least, most] = [0, 0];
  const begun = new Set<Request>();
  feed();
  drive(
    scheduler,
    ({ chosen }) => {
      for (const { job, from, tokens } of chosen) {
        // A prompt counts whole when it is begun, as in the paper, and once, also if it is computed again.
        const prompt = begun.has(job) ? 0 : job.promptLength;
        begun.add(job);
        const isNew = from + tokens === job.ids.length ? 1 : 0;
        served[job.adapter as keyof typeof served] += PROMPT_COST * prompt + NEW_COST * isNew;
      }
      const lead = served.greedy - served.modest;
      [least, most] = [Math.min(least, lead), Math.max(most, lead)];
      expect(most - least).toBeLessThanOrEqual(bound);
      feed();
    },
    () => served.greedy + served.modest > 60_000,
  );
  expect(served.modest).toBeGreaterThan(29_000);
});

test("an adapter that comes back after a pause has no claim to the time it was away", () => {
  const queue = new FairQueue<{ adapter: string }>();
  const [a, b, late] = [{ adapter: "a" }, { adapter: "b" }, { adapter: "late" }];
  queue.push(a);
  queue.push(b);
  queue.charge("a", 100);
  queue.charge("b", 70);
  queue.push(late);
  expect(queue.served("late")).toBe(70);
  queue.delete(late);
  queue.delete(b);
  queue.delete(a);
  // Nobody waits: as much as the one that left last.
  queue.push({ adapter: "new" });
  expect(queue.served("new")).toBe(100);
  queue.reset();
  expect(queue.served("a")).toBe(0);
});

test("requests wait for one that computes what they begin with, and take it", () => {
  const scheduler = new Scheduler<Request>({ pages: 40, pageSize: 4, maxRows: 16, maxSequences: 8 }, open);
  const beginning = Array.from({ length: 12 }, (_, i) => i);
  const jobs = [1, 2, 3].map((id) => request(`${id}`, { ids: [...beginning, id, id], newTokens: 3 }));
  for (const job of jobs) scheduler.add(job);
  let rows = 0;
  const hits: number[] = [];
  drive(
    scheduler,
    ({ chosen }) => {
      for (const { job, from, tokens } of chosen) {
        if (from < job.promptLength) hits.push(scheduler.cachedTokens(job));
        rows += tokens;
      }
    },
    () => scheduler.stats().running + scheduler.stats().waiting === 0,
  );
  expect(hits).toEqual([0, 12, 12]);
  expect(rows).toBe(14 + 2 + 2 + 3 * 2);
  expect(scheduler.stats()).toMatchObject({ promptTokens: 42, cachedPromptTokens: 24, pagesHeld: 0 });
  // A version of its own, or another one of the same ids, finds nothing.
  const other = request("other", { ids: [...beginning, 1], newTokens: 1, version: "v", adapter: "x" });
  scheduler.add(other);
  drive(
    scheduler,
    () => expect(scheduler.cachedTokens(other)).toBe(0),
    () => scheduler.stats().running === 0 && scheduler.stats().waiting === 0,
  );
});

test("an adapter that is on its way holds up nobody else", () => {
  let isThere = false;
  const scheduler = new Scheduler<Request>(
    { pages: 40, pageSize: 4, maxRows: 16, maxSequences: 8 },
    { enter: ({ version }) => version === "" || isThere, leave: () => undefined },
  );
  const slow = request("slow", { adapter: "slow", version: "v", ids: [1, 2], newTokens: 2 });
  const quick = request("quick", { ids: [1, 2], newTokens: 2 });
  scheduler.add(slow);
  scheduler.add(quick);
  const order: string[] = [];
  drive(
    scheduler,
    ({ chosen }) => order.push(...chosen.map(({ job }) => job.name)),
    () => scheduler.stats().running + scheduler.stats().waiting === 1 && order.length === 2,
  );
  expect(order).toEqual(["quick", "quick"]);
  expect(scheduler.next(0)).toBeUndefined();
  isThere = true;
  expect(scheduler.next(0)!.chosen.map(({ job }) => job.name)).toEqual(["slow"]);
});

test("too many waiting tokens are refused, with the time that they take", () => {
  const limits = { pages: 40, pageSize: 4, maxRows: 10, maxSequences: 1, maxWaitingTokens: 50 };
  const scheduler = new Scheduler<Request>(limits, open);
  const ids = Array.from({ length: 20 }, (_, i) => i % 3);
  // Ten tokens in each pass of one second.
  scheduler.add(request("first", { ids, newTokens: 1 }));
  for (let now = 0; now < 2000; now += 1000) scheduler.end(scheduler.next(now)!, now + 1000);
  for (const name of ["second", "third"]) scheduler.add(request(name, { ids, newTokens: 2 }));
  const add = (newTokens: number) => () => scheduler.add(request("fourth", { ids: [1], newTokens }));
  expect(add(6)).toThrow("44 tokens wait to be computed and at most 50 may: try again in 5 s");
  expect(add(5)).not.toThrow();
  expect(() => scheduler.add(request("huge", { ids, newTokens: 200 }))).toThrow("does not fit into 40 pages of 4");
});

test("pages run out: the oldest goes on, and those that gave way go on where they were", () => {
  const scheduler = new Scheduler<Request>({ pages: 9, pageSize: 2, maxRows: 16, maxSequences: 4 }, open);
  const jobs = [0, 1, 2].map((id) => request(`${id}`, { ids: [id, id, 9], newTokens: 12 }));
  for (const job of jobs) scheduler.add(job);
  const ended: string[] = [];
  drive(
    scheduler,
    ({ chosen }) => {
      for (const { job, from, tokens } of chosen)
        if (from + tokens === job.ids.length && job.ids.length === job.maxLength - 1) ended.push(job.name);
    },
    () => ended.length === 3,
  );
  expect(ended).toEqual(["0", "1", "2"]);
  expect(scheduler.stats().preemptions).toBeGreaterThan(1);
  expect(scheduler.stats()).toMatchObject({ pagesHeld: 0, running: 0, waiting: 0 });
});
