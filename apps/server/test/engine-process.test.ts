/** The engine's process through core's Engine, without HTTP. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { EngineEvent, EngineRequest } from "@graft/core/engine";
import { CheckpointError, ConfigError, DataError, UnknownName } from "@graft/core/errors";
import { openDevice } from "@graft/kernels";
import { cpSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { EngineUnavailable } from "../src/errors.ts";
import { EngineHost } from "../src/worker/engine-host.ts";
import { EngineProcess } from "../src/worker/engine-process.ts";
import { openEngine } from "../src/worker/open-engine.ts";
import type { FromWorker } from "../src/worker/protocol.ts";
import { commonAdapter, isRunning, Lines, longModel, until } from "./shared.ts";

const model = longModel();
const options = { model, dtype: "auto", maxSequences: 8 } as const;
let engine: EngineProcess;
beforeAll(async () => {
  engine = await EngineProcess.start({ engine: options, log: () => undefined });
});
afterAll(() => engine.close());

const request = (more: Partial<EngineRequest> = {}): EngineRequest => ({
  requestId: "r",
  promptIds: [1, 40, 41, 42],
  maxNewTokens: 8000,
  ...more,
});
async function collect(events: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const all: EngineEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}
const isFree = async (of: EngineProcess) => (await of.stats()).kvPagesUsed === 0;

test("errors of the engine keep their classes", async () => {
  await expect(collect(engine.generate(request({ promptIds: [] })))).rejects.toThrow(DataError);
  await expect(collect(engine.generate(request({ promptIds: [Number.NaN] })))).rejects.toThrow("the id NaN");
  await expect(collect(engine.generate(request({ adapter: "nobody" })))).rejects.toThrow(UnknownName);
  await expect(engine.unloadAdapter("nobody")).rejects.toThrow(UnknownName);
  const wrong = await engine.loadAdapter("x", join(model, "nowhere")).catch((error: unknown) => error);
  expect([ConfigError, CheckpointError].some((type) => wrong instanceof type)).toBe(true);
  expect(engine.adapters()).toEqual([]);
});

test("an engine that cannot be opened says why, at the first start", async () => {
  const start = (folder: string) =>
    EngineProcess.start({ engine: { ...options, model: folder }, log: () => undefined });
  await expect(start(join(model, "nowhere"))).rejects.toThrow("nowhere");
  const cut = `${model}-cut`;
  cpSync(model, cut, { recursive: true });
  truncateSync(join(cut, "model.safetensors"), 100_000);
  await expect(start(cut)).rejects.toThrow(CheckpointError);
});

test("what the process says is what the engine says", async () => {
  const device = await openDevice();
  const inside = openEngine(device, options);
  const wanted = await collect(
    inside.engine.generate(request({ maxNewTokens: 30, logprobs: 3, promptLogprobs: true })),
  );
  expect(await collect(engine.generate(request({ maxNewTokens: 30, logprobs: 3, promptLogprobs: true })))).toEqual(
    wanted,
  );
  expect(engine.info).toEqual(inside.engine.info);
  await inside.close();
  await device.close();
});

test("an aborted request ends as such, one that is left ends too, and both give their pages back", async () => {
  const controller = new AbortController();
  const aborted: EngineEvent[] = [];
  for await (const event of engine.generate(request(), controller.signal)) {
    aborted.push(event);
    controller.abort();
  }
  expect(aborted.at(-1)).toMatchObject({ type: "finish", reason: "abort" });
  expect(aborted.length).toBeLessThan(8000);
  await until(() => isFree(engine), "pages of the aborted request");
  for await (const _ of engine.generate(request())) break;
  await until(() => isFree(engine), "pages of the request that was left");
  expect(await collect(engine.generate(request(), AbortSignal.abort()))).toMatchObject([{ reason: "abort" }]);
});

test("all that a pass gives is one message", async () => {
  const device = await openDevice();
  const inside = openEngine(device, options);
  const sent: FromWorker[] = [];
  const host = new EngineHost({
    ...inside,
    send: (message) => sent.push(message),
    onLost: (error) => {
      throw error;
    },
  });
  for (let id = 0; id < 8; id++) host.handle({ type: "generate", id, request: request({ maxNewTokens: 20 }) });
  await host.drain();
  const outputs = sent.flatMap((message) => (message.type === "outputs" ? message.outputs : []));
  const tokens = outputs.flatMap(({ events }) => events).filter(({ type }) => type === "token");
  expect(tokens.length).toBe(8 * 20);
  // All eight are in each pass.
  expect(sent.length).toBe(20);
  await inside.close();
  await device.close();
});

test("closing ends what runs with its last events, and the process", async () => {
  const lines = new Lines();
  const other = await EngineProcess.start({ engine: options, log: lines.log });
  const { pid } = other;
  const stream = other.generate(request());
  const first = await stream.next();
  expect(first.value).toMatchObject({ type: "token" });
  const rest = collect(stream);
  await other.close();
  expect((await rest).at(-1)).toMatchObject({ type: "finish", reason: "abort" });
  // It did so by itself: one that had to be killed is logged.
  expect([isRunning(pid!), lines.all]).toEqual([false, []]);
  await expect(collect(other.generate(request()))).rejects.toThrow("is closed");
});

test("a death that nobody waits for is told to who asks next", async () => {
  const lines = new Lines();
  const other = await EngineProcess.start({ engine: options, log: lines.log });
  const events = other.generate(request());
  await events.next();
  process.kill(other.pid!, "SIGKILL");
  // The request has failed now, and its reader is busy elsewhere: no rejection may go unhandled.
  await lines.next("SIGKILL");
  await new Promise((resume) => setImmediate(resume));
  await expect(collect(events)).rejects.toThrow(EngineUnavailable);
  await other.close();
});

test("a lost device ends the process, also when nobody asks for anything, and another takes over", async () => {
  const lines = new Lines();
  const entry = join(import.meta.dir, "fixtures/lossy-worker.ts");
  const lossy = await EngineProcess.start({ engine: options, log: lines.log, entry });
  await lossy.loadAdapter("common", commonAdapter);
  const wanted = await collect(lossy.generate(request({ maxNewTokens: 10, adapter: "common" })));

  const first = lossy.pid!;
  const stream = lossy.generate(request());
  await stream.next();
  process.kill(first, "SIGUSR2");
  const error = await collect(stream).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(EngineUnavailable);
  expect(String(error)).toContain("the device was lost: uncaptured error");
  await lines.next("ready again with adapters common");
  await until(() => !isRunning(first), "the end of the first process");

  const second = lossy.pid!;
  const from = lines.all.length;
  process.kill(second, "SIGUSR2");
  expect(await lines.next("the next one is started in", from)).toContain("1 s");
  await lines.next("ready again", from);
  expect(new Set([first, second, lossy.pid]).size).toBe(3);
  expect(await collect(lossy.generate(request({ maxNewTokens: 10, adapter: "common" })))).toEqual(wanted);
  await lossy.close();
});
