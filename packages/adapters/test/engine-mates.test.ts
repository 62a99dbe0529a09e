/** Requests in an engine: what each gets does not depend on who else is there, on the prefix cache, or on having given way to others. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createEngine, type DeviceEngine, type EngineEvent, type EngineRequest } from "@graft/core/engine";
import { DeadlineExceeded, EngineBusy } from "@graft/core/errors";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { Random } from "@graft/core/random";
import { loadTokenizer } from "@graft/core/text";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { type AdapterConfig, adapterLoader, baseOf, createAdapter, openAdapter, saveAdapter } from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "engine-mates-"));
const tokenizer = loadTokenizer(resolve(import.meta.dir, "../../../models/graft-micro-llama"));
let device: Device;
let model: BaseModel;

const lora = { peft_type: "LORA", r: 4, target_modules: ["q_proj", "v_proj"] };
const methods: Readonly<Record<string, AdapterConfig>> = {
  lora,
  lora2: { ...lora, r: 4 },
  dora: { ...lora, use_dora: true },
  series: { peft_type: "BOTTLENECK", bottleneck_size: 8, non_linearity: "tanh" },
  parallel: { peft_type: "BOTTLENECK", bottleneck_size: 8, use_parallel_adapter: true },
  houlsby: { peft_type: "HOULSBY" },
  ia3: { peft_type: "IA3" },
  prefix: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 },
  prompt: { peft_type: "PROMPT_TUNING", num_virtual_tokens: 4 },
  "on the output layer": { ...lora, target_modules: ["lm_head"] },
};
const names = [undefined, ...Object.keys(methods)];

beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
  const base = baseOf(model);
  for (const [i, [name, config]] of Object.entries(methods).entries()) {
    const adapter = await createAdapter(config, base, i);
    const random = new Random(i, 9);
    for (const [key, value] of adapter.values)
      adapter.values.set(
        key,
        value.map((x) => x + 0.15 * random.normal()),
      );
    await saveAdapter(join(folder, name), adapter, base);
  }
});
afterAll(async () => {
  model.destroy();
  await device.close();
  rmSync(folder, { recursive: true });
});

type Limits = Partial<Parameters<typeof createEngine>[0]>;

async function withEngine<T>(limits: Limits, use: (engine: DeviceEngine) => Promise<T>): Promise<T> {
  const adapters = adapterLoader(model, baseOf(model));
  const engine = createEngine({ model, tokenizer, adapters, maxSequences: 32, pageSize: 4, maxRows: 32, ...limits });
  try {
    for (const name of Object.keys(methods)) await engine.loadAdapter(name, join(folder, name));
    return await use(engine);
  } finally {
    await engine.close();
  }
}

const requests = Array.from({ length: 32 }, (_, i): EngineRequest => {
  const adapter = names[i % names.length];
  return {
    requestId: `r${i}`,
    // Three families of beginnings, so that some have pages in common.
    promptIds: [1, ...Array.from({ length: 4 + (i % 9) }, (__, p) => 3 + ((p * 7 + (i % 3) * 5) % 90))],
    maxNewTokens: 10 + (i % 5),
    eosTokenIds: [],
    logprobs: 0,
    ...(i % 2 === 0 ? {} : { temperature: 1, seed: i }),
    ...(adapter === undefined ? {} : { adapter }),
  };
});

async function answer(engine: DeviceEngine, request: EngineRequest, signal?: AbortSignal) {
  const events: EngineEvent[] = [];
  for await (const event of engine.generate(request, signal)) events.push(event);
  const last = events.at(-1);
  if (last?.type !== "finish") throw new Error("no finish");
  const tokens = events.flatMap((event) => (event.type === "token" ? [[event.id, event.logprob!.logprob]] : []));
  return { tokens, reason: last.reason, cachedTokens: last.cachedTokens };
}

test("alone, among 31 others of every kind, with few pages and with a full cache: the same tokens and the same bits", async () => {
  const alone = await withEngine({ prefixCache: false }, async (engine) => {
    const answers = [];
    for (const request of requests) answers.push((await answer(engine, request)).tokens);
    return answers;
  });
  await withEngine({}, async (engine) => {
    const together = await Promise.all(requests.map((request) => answer(engine, request)));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
    const again = await Promise.all(requests.map((request) => answer(engine, request)));
    expect(again.map(({ tokens }) => tokens)).toEqual(alone);
    expect(again.filter(({ cachedTokens }) => cachedTokens > 0).length).toBeGreaterThan(20);
    expect(await engine.stats()).toMatchObject({ kvPagesUsed: 0, running: 0, waiting: 0 });
  });
  // 24 pages of 4: a handful of requests at a time, which take each other's pages as they grow.
  await withEngine({ pages: 24, prefixCache: false }, async (engine) => {
    const together = await Promise.all(requests.map((request) => answer(engine, request)));
    expect(together.map(({ tokens }) => tokens)).toEqual(alone);
    const { preemptions, kvPagesUsed } = await engine.stats();
    expect(preemptions).toBeGreaterThan(0);
    expect(kvPagesUsed).toBe(0);
  });
});

test("adapters that do not fit on the device together take turns on it, and every request is answered alike", async () => {
  const bytes = await withEngine({}, (engine) => Promise.resolve(engine.adapters().map((info) => info.bytes)));
  const deviceAdapterBytes = Math.max(...bytes) * 2;
  const some = requests.slice(0, 22);
  const wanted = await withEngine({}, (engine) => Promise.all(some.map((request) => answer(engine, request))));
  await withEngine({ deviceAdapterBytes }, async (engine) => {
    const got = await Promise.all(some.map((request) => answer(engine, request)));
    expect(got.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => tokens));
    expect((await engine.stats()).adapterBytesOnDevice).toBeLessThanOrEqual(deviceAdapterBytes);
  });
});

test("an abort, a deadline and a full queue end requests, and their pages are free", async () => {
  await withEngine({ maxWaitingTokens: 150 }, async (engine) => {
    const long: EngineRequest = {
      requestId: "long",
      promptIds: [1, 5, 9],
      maxNewTokens: 100,
      eosTokenIds: [],
      logprobs: 0,
    };
    const controller = new AbortController();
    const aborted = engine.generate(long, controller.signal)[Symbol.asyncIterator]();
    await aborted.next();
    controller.abort();
    let last = await aborted.next();
    while (!last.done && last.value.type !== "finish") last = await aborted.next();
    expect(last.value).toMatchObject({ type: "finish", reason: "abort" });
    await expect(answer(engine, { ...long, deadlineMs: 0 })).rejects.toThrow(DeadlineExceeded);
    const many = await Promise.allSettled(
      Array.from({ length: 6 }, () => answer(engine, { ...long, maxNewTokens: 60 })),
    );
    const refused = many.flatMap((one) => (one.status === "rejected" ? [one.reason as unknown] : []));
    expect(refused.length).toBeGreaterThan(0);
    for (const error of refused) expect(error).toBeInstanceOf(EngineBusy);
    expect(many.some(({ status }) => status === "fulfilled")).toBe(true);
    expect(await engine.stats()).toMatchObject({ kvPagesUsed: 0, running: 0, waiting: 0 });
  });
});

test("training takes turns with decoding, and neither sees the other", async () => {
  const batch = {
    batch: 1,
    length: 4,
    ids: Int32Array.of(5, 6, 7, 8),
    labels: Int32Array.of(6, 7, 8, -100),
    positions: Int32Array.of(0, 1, 2, 3),
    segments: Int32Array.of(1, 1, 1, 1),
  };
  const run = { lossScale: 1 / 3, isFirst: true, seed: 1, step: 0 };
  const losses = async (turn: DeviceEngine["turn"]): Promise<number[]> => {
    const { weights } = openAdapter(model, baseOf(model), join(folder, "lora"));
    const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
    const seen: number[] = [];
    for (let i = 0; i < 6; i++) {
      seen.push(await turn(() => step.micro(batch, run)));
      await turn(() => step.update(1e-2, i + 1));
    }
    step.destroy();
    weights.destroy();
    return seen;
  };
  const wantedLosses = await losses((work) => work());
  await withEngine({ decodeLatencyTargetMs: 20 }, async (engine) => {
    const some = requests.slice(0, 8);
    const wanted = await Promise.all(some.map((request) => answer(engine, request)));
    const [got, trained] = await Promise.all([
      Promise.all(some.map((request) => answer(engine, request))),
      losses((work) => engine.turn(work)),
    ]);
    expect(got.map(({ tokens }) => tokens)).toEqual(wanted.map(({ tokens }) => tokens));
    expect(trained).toEqual(wantedLosses);
    expect((await engine.stats()).trainingTurns).toBe(12);
  });
});
