/** Memory planned from a config is the memory that is then used. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Generator, generationMemory } from "../src/generate/index.ts";
import { fullParameters, loadBaseModel, models, readWeight, traceModelOf } from "../src/models/index.ts";
import { AdapterWeights } from "../src/nn/index.ts";
import { adamwDefaults, trainingMemory, TrainStep } from "../src/train/index.ts";
import { writeTinyModel } from "./tiny-model.ts";

let device: Device;
const root = mkdtempSync(join(tmpdir(), "memory-"));
beforeAll(async () => {
  device = await openDevice();
});
afterAll(async () => {
  await device.close();
  rmSync(root, { recursive: true, force: true });
});

const total = (parts: object): number =>
  Object.values(parts).reduce((sum: number, part: unknown) => (typeof part === "number" ? sum + part : sum), 0);

for (const modelType of ["llama", "bloom", "gpt2"]) {
  const load = () =>
    loadBaseModel(
      device,
      writeTinyModel(join(root, modelType), { config: { model_type: modelType, ...models[modelType]!.tiny[0] } }),
    );

  test.each([false, true])(`${modelType}: a training step, checkpointing %p`, async (gradientCheckpointing) => {
    const before = device.liveBytes;
    const model = load();
    const adapter = fullParameters(model.definition, model.config);
    const values = new Map<string, Float32Array>();
    for (const { key } of adapter.parameters) values.set(key, await readWeight(model, key));
    const weights = new AdapterWeights(device, adapter, values, "test");
    const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1, gradientCheckpointing });
    const shape = { batch: 2, length: 16 };
    const tokens = new Int32Array(32).fill(3);
    const batch = { ...shape, ids: tokens, labels: tokens, positions: tokens, segments: new Int32Array(32).fill(1) };
    await step.micro(batch, { lossScale: 1 / 32, isFirst: true, seed: 0, step: 0 });
    await step.update(1e-3, 1);
    const planned = trainingMemory(
      traceModelOf(model),
      adapter,
      { ...shape, gradientCheckpointing },
      device.capabilities,
    );
    expect(total(planned)).toBe(device.liveBytes - before);
    expect(planned.optimizer).toBe(3 * planned.adapter);
    step.destroy();
    weights.destroy();
    model.destroy();
    expect(device.liveBytes).toBe(before);
  });

  test(`${modelType}: generation`, async () => {
    const before = device.liveBytes;
    const model = load();
    const options = { maxSequences: 4, maxRows: 16, pages: 20 };
    const generator = new Generator(model, options);
    // One pass of the largest shape: 16 rows of four prompts.
    const prompt = [3, 4, 5, 6];
    await generator.generate(
      Array.from({ length: 4 }, () => ({ promptIds: prompt, maxNewTokens: 1, eosTokenIds: [] })),
      undefined,
    );
    const planned = generationMemory(traceModelOf(model), undefined, options, device.capabilities);
    expect(total(planned)).toBe(device.liveBytes - before);
    await generator.destroy();
    model.destroy();
  });
}
