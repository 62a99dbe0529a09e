/** AdaLoRA's allocator against plain loops, and what training with it leaves in the files. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights, type StepValues } from "@graft/core/nn";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { baseOf, createAdapter, loadAdapter, type LoadedAdapter, saveAdapter } from "../src/index.ts";
import { RankAllocator } from "../src/rank-allocator.ts";
import { logitsOf } from "./survives.ts";

let device: Device;
let model: BaseModel;
const folder = mkdtempSync(join(tmpdir(), "adalora-"));
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

const schedule = { tinit: 1, tfinal: 2, deltaT: 2, beta1: 0.8, beta2: 0.7, totalSteps: 9, targetRank: 1 };
const rank = 3;
const [inDim, outDim] = [4, 2];
const triplets = ["x", "y"].map((layer) => ({ A: `${layer}.A`, E: `${layer}.E`, B: `${layer}.B`, rank }));
const sizes = { A: rank * inDim, E: rank, B: outDim * rank };
const keys = triplets.flatMap(({ A, E, B }) => [A, E, B]);
const sizeOf = (key: string): number => sizes[key.slice(-1) as keyof typeof sizes];

/** A value and a gradient of each step, never zero. */
const noise = (key: string, step: number, at: number): number =>
  Math.sin(1 + 13 * keys.indexOf(key) + 3.7 * step + 1.9 * at) + 0.01;

/** Values that an optimizer would have made, with what the allocator writes over them. */
function stepValues(step: number, written: Map<string, Float32Array>): StepValues {
  const each = (key: string, f: (at: number) => number) => Float32Array.from({ length: sizeOf(key) }, (_, at) => f(at));
  return {
    parameter: async (key) => each(key, (at) => noise(key, step, at)),
    gradient: async (key) => each(key, (at) => noise(key, step + 100, at)),
    write: (key, values) => written.set(key, values),
  };
}

/** The paper's and PEFT's rule, written out for a step: which of all singular values stay, or undefined where nothing is masked. */
function expectedMasks(until: number): boolean[][] | undefined {
  const { tinit, tfinal, deltaT, beta1, beta2, totalSteps, targetRank } = schedule;
  const smooth = new Map(
    keys.map((key) => [key, { mean: Array<number>(99).fill(0), spread: Array<number>(99).fill(0) }]),
  );
  let masks: boolean[][] | undefined;
  for (let step = 1; step <= until; step++) {
    if (step < totalSteps - tfinal) {
      for (const key of keys) {
        const { mean, spread } = smooth.get(key)!;
        for (let at = 0; at < sizeOf(key); at++) {
          const now = Math.abs(Math.fround(noise(key, step, at)) * Math.fround(noise(key, step + 100, at)));
          mean[at] = beta1 * mean[at]! + (1 - beta1) * now;
          spread[at] = beta2 * spread[at]! + (1 - beta2) * Math.abs(now - mean[at]!);
        }
      }
    }
    const isLast = step === totalSteps - tfinal;
    if (step <= tinit || step > totalSteps - tfinal || (step % deltaT !== 0 && !isLast)) continue;
    const share = 1 - (step - tinit) / (totalSteps - tfinal - tinit);
    const budget = Math.floor((2 * rank - 2 * targetRank) * share ** 3 + 2 * targetRank);
    const score = (key: string, at: number) => smooth.get(key)!.mean[at]! * smooth.get(key)!.spread[at]!;
    const all = triplets.map(({ A, E, B }) =>
      Array.from({ length: rank }, (_, i) => {
        let [ofA, ofB] = [0, 0];
        for (let j = 0; j < inDim; j++) ofA += score(A, i * inDim + j) / inDim;
        for (let j = 0; j < outDim; j++) ofB += score(B, j * rank + i) / outDim;
        return score(E, i) + ofA + ofB;
      }),
    );
    const ranked = all.flat().toSorted((a, b) => b - a);
    masks = all.map((own) => own.map((s) => s >= ranked[budget - 1]!));
  }
  return masks;
}

test("the allocator keeps what the rule written out keeps, at every step, also where it goes on from a saved state", async () => {
  let allocator = new RankAllocator(schedule, triplets);
  for (let step = 1; step <= schedule.totalSteps; step++) {
    const written = new Map<string, Float32Array>();
    await allocator.run(step, stepValues(step, written));
    const isMasked = [2, 4, 6, 7, 8, 9].includes(step);
    const masks = expectedMasks(step);
    expect(written.size).toBe(isMasked ? 2 : 0);
    if (isMasked)
      for (const [i, { E }] of triplets.entries()) expect([...written.get(E)!].map((x) => x !== 0)).toEqual(masks![i]!);
    const next = new RankAllocator(schedule, triplets);
    next.restore(new Map([...allocator.state()].map(([name, values]) => [name, values.slice()])));
    allocator = next;
  }
  expect(expectedMasks(9)!.flat().filter(Boolean).length).toBe(2);
});

test("the budget falls by the cube from all ranks to the target", () => {
  const allocator = new RankAllocator({ ...schedule, deltaT: 1 }, triplets);
  const counts = Array.from({ length: 9 }, (_, i) => allocator.budget(i + 1).count);
  // 2 + 4 ((7 - step) / 6)^3, whole
  expect(counts).toEqual([6, 4, 3, 2, 2, 2, 2, 2, 2]);
});

const ids = Int32Array.of(1, 5, 9, 40, 77, 12);
const batch = {
  batch: 1,
  length: 6,
  ids,
  labels: Int32Array.of(5, 9, 40, 77, 12, -100),
  positions: Int32Array.of(0, 1, 2, 3, 4, 5),
  segments: new Int32Array(6).fill(1),
};

test("training moves the ranks; what is saved is cut down, does the same, and is written back byte for byte", async () => {
  const base = baseOf(model);
  const config = { peft_type: "ADALORA", init_r: 3, target_r: 1, tinit: 1, tfinal: 1, total_step: 6, lora_alpha: 8 };
  const adapter = await createAdapter({ ...config, target_modules: ["q_proj", "down_proj"] }, base, 4);
  const weights = new AdapterWeights(device, adapter.bound, adapter.values, "adalora");
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  for (let n = 1; n <= 6; n++) {
    await step.micro(batch, { lossScale: 1 / 5, isFirst: true, seed: 0, step: n });
    await step.update(0.02, n);
  }
  const trained: LoadedAdapter = { ...adapter, values: await weights.read() };
  step.destroy();
  weights.destroy();
  const left = [...trained.values].filter(([key]) => key.endsWith("lora_E")).flatMap(([, values]) => [...values]);
  expect(left.length).toBe(12);
  expect(left.filter((x) => x !== 0).length).toBe(4);

  const [first, second] = [join(folder, "first"), join(folder, "second")];
  await saveAdapter(first, trained, base);
  const read = loadAdapter(first, base);
  const pattern = read.config.rank_pattern as Record<string, boolean[]>;
  expect(Object.values(pattern).flat().filter(Boolean).length).toBe(4);
  for (const [name, kept] of Object.entries(pattern)) {
    const shape = read.bound.parameters.find(({ key }) => key === `base_model.model.${name}`)!.shape;
    expect(shape).toEqual([kept.filter(Boolean).length, 1]);
  }
  const want = await logitsOf(model, trained);
  const got = await logitsOf(model, read);
  for (const [i, x] of want.entries()) expect(Math.abs(got[i]! - x)).toBeLessThan(1e-5);
  await saveAdapter(second, read, base);
  for (const file of ["adapter_model.safetensors", "adapter_config.json"])
    expect(readFileSync(join(second, file))).toEqual(readFileSync(join(first, file)));
}, 60_000);

test("the penalty is in the loss once for each scale that is asked for", async () => {
  const base = baseOf(model);
  const config = { peft_type: "ADALORA", init_r: 2, total_step: 6, orth_reg_weight: 0.3 };
  const adapter = await createAdapter(config, base, 4);
  const weights = new AdapterWeights(device, adapter.bound, adapter.values, "adalora");
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
  const run = (penaltyScale: number) =>
    step.micro(batch, { lossScale: 1 / 5, penaltyScale, isFirst: true, seed: 0, step: 0 });
  const [none, once, twice] = [await run(0), await run(1), await run(2)];
  let distances = 0;
  let count = 0;
  for (const { key, shape } of adapter.bound.parameters) {
    if (key.endsWith("lora_E")) continue;
    const isA = key.endsWith("lora_A");
    const width = isA ? shape[1]! : shape[0]!;
    const at = (i: number, j: number) => adapter.values.get(key)![isA ? i * width + j : j * 2 + i]!;
    let sum = 0;
    for (const [i, j] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const) {
      let dot = i === j ? -1 : 0;
      for (let k = 0; k < width; k++) dot += at(i, k) * at(j, k);
      sum += dot ** 2;
    }
    distances += Math.sqrt(sum);
    count++;
  }
  expect(once - none).toBeCloseTo((0.3 * distances) / count, 4);
  expect(twice - none).toBeCloseTo((2 * 0.3 * distances) / count, 4);
  step.destroy();
  weights.destroy();
}, 60_000);
