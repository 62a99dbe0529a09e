import { afterAll, beforeAll, expect, spyOn, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBatches, type Example } from "../src/data/index.ts";
import { type BaseModel, fullParameters, loadBaseModel, readWeight } from "../src/models/index.ts";
import { AdapterWeights } from "../src/nn/index.ts";
import { Random } from "../src/random/index.ts";
import {
  adamwDefaults,
  type Resume,
  train,
  type TrainerOptions,
  TrainingDiverged,
  type TrainRunTools,
  TrainStep,
  toMicro,
  type Turn,
} from "../src/train/index.ts";
import { writeTinyModel } from "./tiny-model.ts";

let device: Device;
let model: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(mkdtempSync(join(tmpdir(), "tiny-"))));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

const examples: Example[] = Array.from({ length: 12 }, (_, n) => {
  const random = new Random(n);
  const ids = Int32Array.from({ length: 6 + random.int(6) }, () => 3 + random.int(90));
  return { ids, labels: ids.slice() };
});
const options: TrainerOptions = {
  epochs: 3,
  accumulation: 2,
  learningRate: 3e-3,
  schedule: "cosine",
  warmupSteps: 2,
  optimizer: { ...adamwDefaults, weightDecay: 0.01 },
  maxGradNorm: 1,
  lossReduction: "token",
  gradientCheckpointing: false,
  seed: 7,
  evalSteps: 0,
  saveSteps: 0,
};

async function freshWeights(): Promise<AdapterWeights> {
  const full = fullParameters(model.definition, model.config);
  const values = new Map<string, Float32Array>();
  for (const { key } of full.parameters) values.set(key, await readWeight(model, key));
  return new AdapterWeights(device, full, values, "test");
}

async function run(
  weights: AdapterWeights,
  changes: Partial<TrainerOptions> = {},
  resume?: Resume,
  stopAfter = Number.POSITIVE_INFINITY,
) {
  const training = createBatches(examples, { batchSize: 2, seed: 7 });
  const losses: number[] = [];
  const controller = new AbortController();
  let stopped: Resume | undefined;
  for await (const event of train(
    model,
    weights,
    { training },
    { ...options, ...changes },
    { resume, signal: controller.signal },
  )) {
    if (event.type === "step") {
      losses.push(event.loss);
      if (losses.length === stopAfter) controller.abort();
    }
    if (event.type === "end") stopped = { state: event.state, optimizer: await event.optimizer() };
  }
  return { losses, stopped: stopped! };
}

test("the same seed gives the same losses, and another order others", async () => {
  const [a, b] = [await freshWeights(), await freshWeights()];
  const first = await run(a);
  expect((await run(b)).losses).toEqual(first.losses);
  expect(first.losses.length).toBe(9);
  a.destroy();
  b.destroy();
});

test("stopping and resuming gives bit for bit the losses and weights of not stopping", async () => {
  const [whole, parts] = [await freshWeights(), await freshWeights()];
  const straight = await run(whole);
  const first = await run(parts, {}, undefined, 4);
  const second = await run(parts, {}, first.stopped);
  expect([...first.losses, ...second.losses]).toEqual(straight.losses);
  expect(await parts.read()).toEqual(await whole.read());
  whole.destroy();
  parts.destroy();
});

test("with other work on the device between its turns the numbers are the same, and it touches the device in them alone", async () => {
  const training = createBatches(examples, { batchSize: 2, seed: 7 });
  const validation = [createBatches(examples.slice(0, 4), { batchSize: 4, seed: 1 }).at({ epoch: 0, index: 0 })];
  const events = async (weights: AdapterWeights, tools: TrainRunTools) => {
    const seen: object[] = [];
    const settings = { ...options, evalSteps: 3, saveSteps: 2 };
    for await (const event of train(model, weights, { training, validation }, settings, { now: () => 0, ...tools }))
      seen.push("optimizer" in event ? { ...event, optimizer: await event.optimizer() } : event);
    return seen;
  };
  const [alone, shared, other] = [await freshWeights(), await freshWeights(), await freshWeights()];
  const straight = await events(alone, {});
  const busy = new TrainStep(model, other, { optimizer: adamwDefaults, maxGradNorm: 1 });
  const before = device.liveBuffers;

  let owner: "nobody" | "training" | "other" = "nobody";
  const outside: string[] = [];
  const [createBuffer, write] = [device.createBuffer.bind(device), device.write.bind(device)];
  const watched = [
    spyOn(device, "createBuffer").mockImplementation((...given) => {
      if (owner === "nobody") outside.push(`make ${given[1]}`);
      return createBuffer(...given);
    }),
    spyOn(device, "write").mockImplementation((...given) => {
      if (owner === "nobody") outside.push(`write ${given[0].label}`);
      write(...given);
    }),
  ];
  let turns = 0;
  const turn: Turn = async (work) => {
    expect(owner).toBe("nobody");
    try {
      owner = "other";
      await busy.micro(toMicro(validation[0]!), { lossScale: 1, isFirst: true, seed: 1, step: turns });
      await busy.update(1e-2, ++turns);
      owner = "training";
      return await work();
    } finally {
      owner = "nobody";
    }
  };
  try {
    expect(await events(shared, { turn })).toEqual(straight);
  } finally {
    for (const spy of watched) spy.mockRestore();
  }
  expect(outside).toEqual([]);
  // Nine steps of two micro-batches and an update, three validations, what is read for five checkpoints, and programs.
  expect(turns).toBeGreaterThan(9 * 3 + 3 + 5);
  expect(await shared.read()).toEqual(await alone.read());
  busy.destroy();
  expect(device.liveBuffers).toBeLessThanOrEqual(before);
  for (const weights of [alone, shared, other]) weights.destroy();
});

test("one batch is learned by heart", async () => {
  const weights = await freshWeights();
  const batch = toMicro(createBatches(examples.slice(0, 2), { batchSize: 2, seed: 1 }).at({ epoch: 0, index: 0 }));
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  let loss = 0;
  for (let i = 1; i <= 60; i++) {
    loss = await step.micro(batch, { lossScale: 1 / 20, isFirst: true, seed: 0, step: i });
    await step.update(1e-2, i);
  }
  expect(loss).toBeLessThan(0.05);
  step.destroy();
  weights.destroy();
});

test("a loss that is no number stops the run and says so", async () => {
  const weights = await freshWeights();
  await expect(run(weights, { learningRate: 1e30, warmupSteps: 0, maxGradNorm: 0 })).rejects.toThrow(TrainingDiverged);
  await Bun.sleep(0);
  weights.destroy();
});

test("a checkpoint of other data is refused", async () => {
  const weights = await freshWeights();
  const { stopped } = await run(weights, {}, undefined, 1);
  const other = { ...stopped, state: { ...stopped.state, fingerprint: "other" } };
  await expect(run(weights, {}, other)).rejects.toThrow("other data");
  weights.destroy();
});

test("a step takes what its plan says, and many steps no more than few", async () => {
  const weights = await freshWeights();
  const before = device.liveBytes;
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  const batch = toMicro(createBatches(examples.slice(0, 2), { batchSize: 2, seed: 1 }).at({ epoch: 0, index: 0 }));
  const { bytes, calls } = step.planFor(batch);
  const state = device.liveBytes - before;
  await step.micro(batch, { lossScale: 1, isFirst: true, seed: 0, step: 0 });
  const dims = Math.ceil((calls.length * 256) / 16) * 16;
  expect(device.liveBytes - before).toBe(state + bytes.arena + bytes.inputs + bytes.constants + dims);
  await step.update(1e-4, 1);
  const after = device.liveBytes;
  for (let i = 2; i < 30; i++) {
    await step.micro(batch, { lossScale: 1, isFirst: true, seed: 0, step: i });
    await step.update(1e-4, i);
  }
  expect(device.liveBytes).toBe(after);
  step.destroy();
  expect(device.liveBytes).toBe(before);
  weights.destroy();
});
