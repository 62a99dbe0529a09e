/** The engine on a device, with the base alone: what adapters add is tested where methods are known. */
import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { resolve } from "node:path";
import {
  type AdapterLoader,
  createEngine,
  type DeviceEngine,
  type EngineEvent,
  type EngineRequest,
  type LiveEngineOptions,
} from "../src/engine/index.ts";
import { CheckpointError, DataError, DeadlineExceeded, EngineBusy, UnknownName } from "../src/errors/index.ts";
import { createConstraintCompiler, Generator, PagedForward } from "../src/generate/index.ts";
import { type BaseModel, loadBaseModel } from "../src/models/index.ts";
import { loadTokenizer } from "../src/text/index.ts";

const micro = resolve(import.meta.dir, "../../../models/graft-micro-llama");
const tokenizer = loadTokenizer(micro);
const noAdapters: AdapterLoader = { read: (path) => Promise.reject(new CheckpointError(`${path}: is no adapter`)) };
let device: Device;
let model: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, micro, { dtype: "auto" });
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

async function withEngine<T>(
  limits: Partial<LiveEngineOptions>,
  use: (engine: DeviceEngine) => Promise<T>,
): Promise<T> {
  const before = [device.liveBytes, device.liveBuffers];
  const engine = createEngine({ model, tokenizer, adapters: noAdapters, pageSize: 4, ...limits });
  try {
    const result = await use(engine);
    expect(await engine.stats()).toMatchObject({ running: 0, waiting: 0, waitingTokens: 0, kvPagesUsed: 0 });
    return result;
  } finally {
    await engine.close();
    expect([device.liveBytes, device.liveBuffers]).toEqual(before);
  }
}

const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });
const story = encode("Tom has 3 red apples and Ann has 4 green pears. How many do they have?");
const base: EngineRequest = { requestId: "r", promptIds: story, maxNewTokens: 12, eosTokenIds: [] };

async function collect(engine: DeviceEngine, request: EngineRequest, signal?: AbortSignal): Promise<EngineEvent[]> {
  const events: EngineEvent[] = [];
  for await (const event of engine.generate(request, signal)) events.push(event);
  return events;
}

const idsOf = (events: readonly EngineEvent[]) => events.flatMap((event) => (event.type === "token" ? [event.id] : []));
const textOf = (events: readonly EngineEvent[]) => events.map((event) => ("text" in event ? event.text : "")).join("");
const finishOf = (events: readonly EngineEvent[]) => {
  const last = events.at(-1);
  if (last?.type !== "finish") throw new Error("the last event is no finish");
  return last;
};
/** All that a request tells but how much of it was cached. */
const contentOf = (events: readonly EngineEvent[]) =>
  events.map((event) => (event.type === "finish" ? { ...event, cachedTokens: 0 } : event));

test("the engine's tokens and their log-probabilities are the generator's, down to the end token's", async () => {
  const generator = new Generator(model);
  const asked = { promptIds: story, maxNewTokens: 12, eosTokenIds: [], logprobs: true };
  const want = (await generator.generate([asked], undefined))[0]![0]!;
  await generator.destroy();
  await withEngine({}, async (engine) => {
    const free = await collect(engine, { ...base, logprobs: 2 });
    expect(idsOf(free)).toEqual([...want.ids]);
    const entries = free.flatMap((event) => (event.type === "token" ? [event.logprob!] : []));
    for (const [i, { id, logprob, top }] of entries.entries()) {
      expect(logprob).toBeCloseTo(want.logprobs![i]!, 4);
      expect(top.length).toBe(2);
      expect(top[0]).toEqual({ id, logprob });
    }
    expect(finishOf(free)).toMatchObject({ reason: "length", cachedTokens: 0 });
    expect("logprob" in finishOf(free)).toBe(false);
    // Ended by what it would have said next, whose log-probability is told too.
    const end = want.ids.findIndex((id, i) => i > 2 && !want.ids.slice(0, i).includes(id));
    const ended = await collect(engine, { ...base, logprobs: 2, eosTokenIds: [want.ids[end]!] });
    expect(idsOf(ended)).toEqual(want.ids.slice(0, end));
    expect(finishOf(ended)).toMatchObject({ reason: "stop", logprob: entries[end]! });
    const quiet = await collect(engine, { ...base, eosTokenIds: [want.ids[end]!] });
    expect("logprob" in finishOf(quiet)).toBe(false);
  });
});

const variety: EngineRequest[] = Array.from({ length: 14 }, (_, i) => ({
  ...base,
  requestId: `v${i}`,
  promptIds: i % 3 === 0 ? story.slice(0, 4 + i) : [...story, 3 + i],
  maxNewTokens: 8 + (i % 4) * 8,
  seed: i,
  ...[
    {},
    { temperature: 0.9, topK: 20, logprobs: 1 },
    { temperature: 1.1, repetitionPenalty: 1.3, frequencyPenalty: 0.4 },
    { promptLogprobs: true, logprobs: 3 },
    { temperature: 1, minP: 0.02, logitBias: { 40: 3 } },
  ][i % 5],
}));

test("few pages, few rows and prefixes from the cache change nothing in what requests of all kinds get, prompts' log-probabilities included", async () => {
  const alone = await withEngine({ prefixCache: false }, async (engine) => {
    const answers: EngineEvent[][] = [];
    for (const request of variety) answers.push(await collect(engine, request));
    return answers;
  });
  for (const [i, { promptLogprobs, promptIds }] of variety.entries()) {
    const [first] = alone[i]!;
    if (promptLogprobs) expect(first?.type === "prompt" && first.logprobs.length).toBe(promptIds.length);
  }
  for (const limits of [{}, { maxRows: 5, pages: 26 }, { pages: 30, prefixCache: false }, { maxSequences: 3 }]) {
    await withEngine({ maxRows: 32, ...limits }, async (engine) => {
      for (let round = 0; round < 2; round++) {
        const together = await Promise.all(variety.map((request) => collect(engine, request)));
        expect(together.map(contentOf)).toEqual(alone.map(contentOf));
        for (const [i, events] of together.entries())
          if (variety[i]!.promptLogprobs || limits.prefixCache === false) expect(finishOf(events).cachedTokens).toBe(0);
      }
      const { preemptions, cachedPromptTokens, promptTokens } = await engine.stats();
      if (limits.pages) expect(preemptions).toBeGreaterThan(0);
      expect(cachedPromptTokens > 0).toBe(limits.prefixCache !== false);
      expect(promptTokens).toBe(2 * variety.reduce((sum, { promptIds }) => sum + promptIds.length, 0));
    });
  }
});

test("requests that begin alike and come at once compute their beginning once", async () => {
  const next = spyOn(PagedForward.prototype, "next");
  try {
    await withEngine({}, async (engine) => {
      const common = story.slice(0, 16);
      const all = await Promise.all(
        [40, 41, 42, 43].map((id) => collect(engine, { ...base, promptIds: [...common, id], maxNewTokens: 1 })),
      );
      expect(all.map((events) => finishOf(events).cachedTokens)).toEqual([0, 16, 16, 16]);
      expect(next.mock.calls.map(([rows]) => rows.length)).toEqual([17, 3]);
    });
  } finally {
    next.mockRestore();
  }
});

test("a constrained request gives what its schema wants, beside one that is free", async () => {
  const compiler = createConstraintCompiler(tokenizer, model.config.vocabSize, model.generation.eosTokenIds);
  const schema = {
    type: "object",
    properties: { name: { enum: ["Tom", "Ann"] }, apples: { type: "integer", minimum: 0, maximum: 99 } },
    required: ["name", "apples"],
    additionalProperties: false,
  };
  await withEngine({ compileConstraint: (constraint) => compiler.compile(constraint) }, async (engine) => {
    const asked: EngineRequest = { ...base, maxNewTokens: 60, constraint: { type: "json_schema", schema } };
    const free = await collect(engine, base);
    const [greedy, sampled, beside] = await Promise.all([
      collect(engine, asked),
      collect(engine, { ...asked, temperature: 1, seed: 5, logprobs: 1 }),
      collect(engine, base),
    ]);
    for (const events of [greedy, sampled]) {
      const answer = JSON.parse(textOf(events)) as { name: string; apples: number };
      expect(["Tom", "Ann"]).toContain(answer.name);
      expect(answer.apples).toBeWithin(0, 100);
      expect(finishOf(events).reason).toBe("stop");
    }
    expect(idsOf(beside)).toEqual(idsOf(free));
  });
  await withEngine({}, async (engine) => {
    const refused = collect(engine, { ...base, constraint: { type: "json_object" } });
    await expect(refused).rejects.toThrow("without a compiler of constraints");
  });
});

test("a request that is left, aborted or late frees its pages, whatever it was doing", async () => {
  await withEngine({ maxRows: 8 }, async (engine) => {
    const long = { ...base, maxNewTokens: 100 };
    // Left after its first token.
    for await (const event of engine.generate(long)) if (event.type === "token") break;
    // Before anything, in its prompt, while it decodes.
    expect(finishOf(await collect(engine, long, AbortSignal.abort())).reason).toBe("abort");
    for (const after of ["prompt", "token"] as const) {
      const controller = new AbortController();
      const request = { ...long, promptLogprobs: true };
      const events: EngineEvent[] = [];
      for await (const event of engine.generate(request, controller.signal)) {
        events.push(event);
        if (event.type === after) controller.abort();
      }
      expect(finishOf(events).reason).toBe("abort");
    }
    await expect(collect(engine, { ...long, deadlineMs: 1 })).rejects.toThrow(DeadlineExceeded);
    await expect(collect(engine, { ...long, deadlineMs: 0 })).rejects.toThrow("was not done within the 0 ms it gave");
    // One that is done in time, and one whose deadline no timer can hold.
    for (const deadlineMs of [60_000, 1e12])
      expect(finishOf(await collect(engine, { ...base, deadlineMs })).reason).toBe("length");
  });
});

test("requests over what may wait are refused and say when to come again; those that run do not count", async () => {
  await withEngine({ maxSequences: 1, maxWaitingTokens: 2 * (story.length + 12) }, async (engine) => {
    const running = engine.generate({ ...base, maxNewTokens: 60 })[Symbol.asyncIterator]();
    await running.next();
    const waiting = [collect(engine, base), collect(engine, base)];
    const refused = collect(engine, base);
    await expect(refused).rejects.toThrow(EngineBusy);
    await expect(refused).rejects.toMatchObject({ retryAfterSeconds: expect.any(Number) as number });
    expect(await engine.stats()).toMatchObject({ waitingTokens: 2 * (story.length + 12) });
    while (!(await running.next()).done);
    for (const one of waiting) expect(finishOf(await one).reason).toBe("length");
  });
});

test("what cannot be served is refused before it waits", async () => {
  await withEngine({ pages: 10 }, async (engine) => {
    const refuse = (more: Partial<EngineRequest>, error: new (message: string) => Error, message: string) =>
      Promise.all([
        expect(collect(engine, { ...base, ...more })).rejects.toThrow(error),
        expect(collect(engine, { ...base, ...more })).rejects.toThrow(message),
      ]);
    await refuse({ promptIds: [] }, DataError, "the prompt is empty");
    await refuse({ promptIds: [1, 99_999] }, DataError, "the prompt has the id 99999");
    await refuse({ maxNewTokens: 5000 }, DataError, "asks for 5000 more; the model holds");
    await refuse({ promptIds: [1], maxNewTokens: 50 }, DataError, "more than the 10 pages of the cache");
    await refuse({ numBeams: 2 }, DataError, "beam search is not served");
    await refuse({ adapter: "nobody" }, UnknownName, 'no adapter named "nobody"');
  });
});

test("an adapter that cannot be read fails its own requests, also behind others, and nobody else's", async () => {
  await withEngine({}, async (engine) => {
    engine.registerAdapter({
      name: "gone",
      version: "v1",
      path: "/nowhere",
      method: "lora",
      parameters: 1,
      bytes: 4,
      virtualTokens: 0,
      isPinned: false,
    });
    const results = await Promise.allSettled(
      ["gone", undefined, "gone", undefined].map((adapter) =>
        collect(engine, adapter === undefined ? base : { ...base, adapter }),
      ),
    );
    expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected", "fulfilled"]);
    for (const result of results)
      if (result.status === "rejected") expect(result.reason).toBeInstanceOf(CheckpointError);
    await engine.unloadAdapter("gone");
  });
});

test("a pass that fails ends the requests in it, and leaves nothing behind for those that come later", async () => {
  const wanted = await withEngine({}, (engine) => collect(engine, base));
  const next = spyOn(PagedForward.prototype, "next");
  try {
    await withEngine({ maxRows: 8 }, async (engine) => {
      next.mockImplementationOnce(() => Promise.reject(new Error("the device is busy elsewhere")));
      const failing = await Promise.allSettled([collect(engine, base), collect(engine, { ...base, promptIds: [1] })]);
      expect(failing.some(({ status }) => status === "rejected")).toBe(true);
      for (const result of failing)
        if (result.status === "rejected") expect(String(result.reason)).toContain("busy elsewhere");
      expect(idsOf(await collect(engine, base))).toEqual(idsOf(wanted));
    });
  } finally {
    next.mockRestore();
  }
});

test("turns run when nothing else does, between passes when something does, and never beside one", async () => {
  let isBusy = false;
  const alone = async <T>(work: () => Promise<T>): Promise<T> => {
    expect(isBusy).toBe(false);
    isBusy = true;
    try {
      return await work();
    } finally {
      isBusy = false;
    }
  };
  const original = PagedForward.prototype.next;
  const next = spyOn(PagedForward.prototype, "next").mockImplementation(function (this: PagedForward, ...args) {
    return alone(() => original.apply(this, args));
  });
  try {
    await withEngine({ decodeLatencyTargetMs: 1000 }, async (engine) => {
      const work = () => alone(() => new Promise<number>((done) => setImmediate(() => done(1))));
      expect(await engine.turn(work)).toBe(1);
      let turnsWhileDecoding = 0;
      let isOver = false;
      const training = (async () => {
        while (!isOver) {
          await engine.turn(work);
          if ((await engine.stats()).running > 0) turnsWhileDecoding++;
        }
      })();
      const [first, second] = await Promise.all([collect(engine, base), collect(engine, base)]);
      isOver = true;
      await training;
      expect(idsOf(first)).toEqual(idsOf(second));
      expect(turnsWhileDecoding).toBeGreaterThan(2);
      await expect(engine.turn(() => Promise.reject(new Error("diverged")))).rejects.toThrow("diverged");
      engine.countTraining({ steps: 2, tokens: 30 });
      engine.countTraining({ steps: 1, tokens: 10 });
      expect(await engine.stats()).toMatchObject({ trainingSteps: 3, trainingTokens: 40 });
    });
  } finally {
    next.mockRestore();
  }
});

test("closing ends what runs and waits, and refuses what comes later", async () => {
  const before = device.liveBytes;
  const engine = createEngine({ model, tokenizer, adapters: noAdapters, maxSequences: 1 });
  const running = engine.generate({ ...base, maxNewTokens: 100 })[Symbol.asyncIterator]();
  await running.next();
  const waiting = collect(engine, base);
  while ((await engine.stats()).waiting === 0);
  const begun = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const turns = Promise.allSettled([
    engine.turn(() => {
      begun.resolve();
      return held.promise;
    }),
    engine.turn(() => Promise.resolve()),
  ]);
  await begun.promise;
  const closing = engine.close();
  held.resolve();
  await closing;
  expect(await turns).toMatchObject([{ status: "fulfilled" }, { status: "rejected", reason: { name: "AbortError" } }]);
  expect(finishOf(await waiting).reason).toBe("abort");
  let last = await running.next();
  for (let event = last; !event.done; event = await running.next()) last = event;
  expect(last.value).toMatchObject({ type: "finish", reason: "abort" });
  await expect(collect(engine, base)).rejects.toThrow("the engine is closed");
  await expect(engine.turn(() => Promise.resolve())).rejects.toThrow("closing");
  expect(device.liveBytes).toBe(before);
});

test("figures are told by adapter, and of the device", async () => {
  await withEngine({}, async (engine) => {
    const events = engine.generate(base)[Symbol.asyncIterator]();
    await events.next();
    const during = await engine.stats();
    expect(during.byAdapter[""]).toMatchObject({ running: 1, waiting: 0 });
    expect(during.kvPagesUsed).toBeGreaterThan(0);
    expect(during.deviceBytes).toBe(device.liveBytes);
    while (!(await events.next()).done);
    const after = await engine.stats();
    expect(after).toMatchObject({ generatedTokens: 12, byAdapter: { "": { running: 0, generatedTokens: 12 } } });
    expect(after.kvPagesCached).toBe(Math.floor((story.length + 11) / 4));
  });
});
