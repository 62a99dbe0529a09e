import { expect, test } from "bun:test";
import { CheckpointError, ConfigError, DataError, UnknownName } from "@graft/core/errors";
import { DeviceLost } from "@graft/kernels/errors";
import { join } from "node:path";
import { parseFromWorker, parseToWorker } from "../src/worker/protocol.ts";
import { fromWire, toWire } from "../src/worker/wire-error.ts";
import { WorkerProcess } from "../src/worker/worker-process.ts";

const request = { requestId: "r", promptIds: [1, 2], maxNewTokens: 3 };
const engine = { model: "nowhere", dtype: "auto" } as const;

test("what is not a message of the protocol is refused by name of the field", () => {
  const cases: [unknown, string][] = [
    [undefined, "whole"],
    ["close", "whole"],
    [{ type: "open" }, "type"],
    [{ type: "close", now: true }, "now"],
    [{ type: "cancel" }, "id"],
    [{ type: "cancel", id: -1 }, "id"],
    [{ type: "generate", id: 1, request: { ...request, promptIds: ["1"] } }, "request.promptIds.0"],
    [{ type: "generate", id: 1, request: { ...request, colour: "red" } }, "colour"],
    [{ type: "generate", id: 1, request: { ...request, adapter: undefined } }, "request.adapter"],
    [{ type: "start", options: { ...engine, dtype: "f64" } }, "options.dtype"],
    [{ type: "start", options: { ...engine, quantization: "int4" } }, "options.quantization"],
  ];
  for (const [message, field] of cases) expect(() => parseToWorker(message)).toThrow(field);
  for (const message of [
    { type: "outputs", outputs: [{ id: 1, events: [{ type: "token", id: 1 }] }] },
    { type: "refused", id: 1, error: { name: "RangeError", message: "x" } },
    { type: "ready", info: { device: "none" } },
    { type: "cancel", id: 1 },
  ])
    expect(() => parseFromWorker(message)).toThrow("from the engine's process");
});

test("a message of the protocol comes through unchanged, numbers that JSON lacks included", () => {
  const generate = { type: "generate", id: 1, request: { ...request, adapter: "a", stop: ["x"], eosTokenIds: [] } };
  expect(parseToWorker(generate)).toEqual(generate as never);
  const quantization = { method: "nf4", skipModules: ["o_proj"] };
  const start = { type: "start", options: { ...engine, quantization } };
  expect(parseToWorker(start)).toEqual(start as never);
  const logprob = { id: 1, logprob: Number.NEGATIVE_INFINITY, top: [{ id: 2, logprob: Number.NaN }] };
  const outputs = {
    type: "outputs",
    outputs: [{ id: 1, events: [{ type: "token", id: 1, text: "x", logprob }], error: { name: "Error", message: "" } }],
  };
  expect(parseFromWorker(outputs)).toEqual(outputs as never);
});

test("errors come out as the class they went in as", () => {
  for (const type of [UnknownName, ConfigError, CheckpointError, DataError, DeviceLost]) {
    const back = fromWire(toWire(new type("what it says")));
    expect(back).toBeInstanceOf(type);
    expect(back).toMatchObject({ name: type.name, message: "what it says" });
  }
  expect(toWire(new TypeError("x is not a function"))).toEqual({
    name: "Error",
    message: "TypeError: x is not a function",
  });
  expect(toWire("text")).toEqual({ name: "Error", message: "text" });
});

test("a process that breaks the protocol is ended, whichever side it is", async () => {
  let isUnparsed = false;
  const worker = Bun.spawn([process.execPath, join(import.meta.dir, "../src/worker/main.ts")], {
    stdio: ["ignore", "ignore", "pipe"],
    serialization: "advanced",
    ipc(message, child) {
      isUnparsed = parseFromWorker(message).type === "listening";
      child.send({ type: "generate", id: 1 });
    },
  });
  expect([await worker.exited, isUnparsed]).toEqual([1, true]);
  expect(await new Response(worker.stderr).text()).toContain("message to the engine's process: request");

  const deaths: string[] = [];
  const rude = new WorkerProcess({
    engine,
    entry: join(import.meta.dir, "fixtures/rude-worker.ts"),
    onDeath(reason) {
      deaths.push(reason);
      return new Error(reason);
    },
  });
  await expect(rude.ready).rejects.toThrow("broke the protocol");
  await expect(rude.stats()).rejects.toThrow("info.modelPath");
  expect(deaths.length).toBe(1);
});
