import { afterAll, beforeAll, expect, test } from "bun:test";
import { baseOf, type LoadedAdapter, loadAdapter } from "@graft/adapters";
import type { TrainRunOptions } from "@graft/adapters/train";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { type Device, openDevice } from "@graft/kernels";
import { existsSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { adapterConfigOf } from "../src/train/adapter-options.ts";
import { micro } from "./process.ts";
import { trainMicro, trainOptions } from "./training.ts";

const scratch = mkdtempSync(join(tmpdir(), "train-"));
let device: Device;
let model: BaseModel;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, micro);
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

const lora = { peft_type: "LORA", r: 4, lora_alpha: 8, lora_dropout: 0.1, target_modules: ["q_proj", "v_proj"] };
const options = (name: string, changes: Partial<TrainRunOptions> = {}) =>
  trainOptions(join(scratch, name), lora, { groupByLength: true, learningRate: 3e-3, ...changes });
const run = (o: TrainRunOptions, stopAfter?: number) => trainMicro(model, o, stopAfter);
const bytes = (name: string) => readFileSync(join(scratch, name, "adapter_model.safetensors"));

test("the same seed gives the same bytes; stopped and resumed gives them too", async () => {
  const straight = await run(options("straight"));
  expect(straight.steps).toBe(6);
  expect(straight.evalLosses.map((e) => e.step)).toEqual([3, 6]);
  await run(options("again"));
  expect(bytes("again").equals(bytes("straight"))).toBe(true);

  const stopped = await run(options("parts"), 3);
  expect(stopped.reason).toBe("stopped");
  expect(existsSync(join(scratch, "parts/checkpoint-3/trainer_state.json"))).toBe(true);
  const resumed = await run(options("parts", { resumeFromCheckpoint: "true" }));
  expect([...stopped.losses, ...resumed.losses]).toEqual([...straight.losses]);
  expect(
    readFileSync(join(scratch, "parts/metrics.jsonl"), "utf8")
      .split("\n")
      .filter((line) => line.includes('"loss"')).length,
  ).toBe(6);
  expect(device.liveBuffers).toBe(model.weights.size);
});

test("an adapter that starts from the base's singular vectors resumes bit for bit too, and ends as a plain LoRA that does the same", async () => {
  const adapterConfig = {
    ...options("").adapterConfig,
    init_lora_weights: "pissa",
    alpha_pattern: { v_proj: 4 },
    use_dora: true,
  };
  const pissa = (name: string, changes: Partial<TrainRunOptions> = {}) =>
    options(name, { adapterConfig, valSetSize: 0, ...changes });
  const straight = await run(pissa("pissa"));
  // Factors of q_proj and v_proj (128 to 128 and to 64) and their magnitudes: what is frozen is not counted.
  expect(straight.trainableParameters).toBe(4 * (4 * (128 + 128) + 4 * (128 + 64) + 128 + 64));
  const stopped = await run(pissa("pissa-parts"), 3);
  const base = baseOf(model);
  const half = loadAdapter(join(scratch, "pissa-parts/checkpoint-3"), base);
  const plain = loadAdapter(join(scratch, "pissa-parts"), base);
  expect(half.config).toMatchObject({ r: 4, lora_alpha: 8, init_lora_weights: "pissa" });
  expect(plain.config).toMatchObject({ r: 8, lora_alpha: 16, alpha_pattern: { v_proj: 8 }, init_lora_weights: true });
  const [applied, saved] = [await logits(half), await logits(plain)];
  for (const [i, x] of applied.entries()) expect(Math.abs(saved[i]! - x)).toBeLessThan(1e-4);

  const resumed = await run(pissa("pissa-parts", { resumeFromCheckpoint: "true" }));
  expect([...stopped.losses, ...resumed.losses]).toEqual([...straight.losses]);
  expect(bytes("pissa-parts").equals(bytes("pissa"))).toBe(true);
});

/** Of the last token of a short prompt. */
async function logits({ bound, values }: LoadedAdapter): Promise<Float32Array> {
  const weights = new AdapterWeights(device, bound, values, "test");
  const generator = new Generator(model, { maxSequences: 1 });
  try {
    return (await generator.nextLogits([1, 5, 9, 40], weights)).slice();
  } finally {
    await generator.destroy();
    weights.destroy();
  }
}

test.each([
  ["bottleneck", { useParallelAdapter: true, bottleneckSize: 4, adapterDropout: 0.1 }, ["BOTTLENECK", "parallel"]],
  ["series", { scaling: 4 }, ["BOTTLENECK", "series"]],
  ["adapterp", { initWeights: "bert" }, ["BOTTLENECK", "adapterp"]],
  ["houlsby", { reductionFactor: 8, dropout: 0.1 }, ["HOULSBY", "houlsby"]],
  ["compacter", { reductionFactor: 8, phmDim: 2, targetModules: ["q_proj"] }, ["COMPACTER", "compacter"]],
] as const)(
  "--adapter-name %s trains that method; stopped and resumed it gives the same bytes",
  async (name, flags, [type, method]) => {
    const given = { adapterName: name, ...flags } as Parameters<typeof adapterConfigOf>[0];
    const { config, unused } = adapterConfigOf(given, micro);
    expect(config.peft_type).toBe(type);
    expect(unused).toEqual("targetModules" in flags ? ["--target-modules"] : []);
    const own = (folder: string, changes: Partial<TrainRunOptions> = {}) =>
      options(`${name}-${folder}`, { adapterConfig: config, maxSteps: 4, valSetSize: 0, ...changes });
    const straight = await run(own("straight"));
    expect(straight.adapter.bound.method).toBe(method);
    await run(own("parts"), 2);
    await run(own("parts", { resumeFromCheckpoint: "true" }));
    expect(bytes(`${name}-parts`).equals(bytes(`${name}-straight`))).toBe(true);
  },
);

test("flags that make a method another one of its peft_type are refused", () => {
  const given = { adapterName: "series", useParallelAdapter: true } as Parameters<typeof adapterConfigOf>[0];
  expect(() => adapterConfigOf(given, micro)).toThrow(
    "with use_parallel_adapter true it is not series but another BOTTLENECK method",
  );
});

test("only so many checkpoints are kept, and none is half-written", async () => {
  await run(options("kept"));
  const names = readdirSync(join(scratch, "kept"));
  expect(names.filter((name) => name.startsWith("checkpoint-")).length).toBeLessThanOrEqual(2);
  expect(names.filter((name) => name.includes(".tmp"))).toEqual([]);
});

test("the best weights of before a stop are what ends in the folder, if none are better after it", async () => {
  // At such a rate the validation loss only rises.
  const worse = (name: string, changes: Partial<TrainRunOptions> = {}) =>
    options(name, { learningRate: 1, warmupSteps: 0, evalSteps: 1, saveSteps: 0, ...changes });
  const straight = await run(worse("best"));
  expect(straight.evalLosses.toSorted((a, b) => a.loss - b.loss)[0]!.step).toBeLessThan(3);
  await run(worse("best-parts"), 3);
  await run(worse("best-parts", { resumeFromCheckpoint: "true" }));
  expect(bytes("best-parts").equals(bytes("best"))).toBe(true);
});

test("gradient checkpointing and packing train too", async () => {
  const plain = await run(options("plain", { maxSteps: 2 }));
  const checkpointed = await run(options("checkpointed", { maxSteps: 2, gradientCheckpointing: true }));
  expect(checkpointed.losses).toEqual(plain.losses);
  const packed = await run(options("packed", { maxSteps: 2, packing: true, groupByLength: false }));
  expect(packed.losses.every((loss) => Number.isFinite(loss))).toBe(true);
});

test("mistakes in data and settings are named", async () => {
  const file = (name: string, text: string) => {
    const path = join(scratch, name);
    writeFileSync(path, text);
    return path;
  };
  await expect(run(options("x", { dataPath: join(scratch, "nowhere.json") }))).rejects.toThrow("nowhere.json");
  await expect(run(options("x", { dataPath: file("empty.json", "[]") }))).rejects.toThrow("no rows");
  await expect(run(options("x", { dataPath: file("field.json", '[{"instruction": "a"}]') }))).rejects.toThrow("output");
  await expect(run(options("x", { promptTemplate: "alpacca" }))).rejects.toThrow("did you mean alpaca");
  await expect(run(options("x", { schedule: "linaer" }))).rejects.toThrow("did you mean linear");
  await expect(run(options("x", { resumeFromCheckpoint: "true" }))).rejects.toThrow("no checkpoint");
});
