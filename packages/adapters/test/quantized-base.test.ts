/** Adapters on quantised bases: what starts as the base's function does so here, what reads a weight reads what its codes stand for, merging is refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel, quantizationMethods, quantizeFolder, readWeight } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { baseOf, createAdapter, mergeAdapter, mergeIntoFolder, saveAdapter } from "../src/index.ts";

const scratch = mkdtempSync(join(tmpdir(), "quantised-base-"));
const plain = writeTinyModel(join(scratch, "plain"));
let device: Device;
const models = {} as Record<(typeof quantizationMethods)[number], BaseModel>;
beforeAll(async () => {
  device = await openDevice();
  for (const method of quantizationMethods)
    models[method] = loadBaseModel(device, plain, { quantization: { method, skipModules: [] } });
});
afterAll(async () => {
  for (const model of Object.values(models)) model.destroy();
  await device.close();
});

const lora = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj", "down_proj"] };
const saved = "base_model.model.model.layers.0.mlp.up_proj.weight";

async function logits(model: BaseModel, weights?: AdapterWeights): Promise<Float32Array> {
  const generator = new Generator(model, { maxSequences: 1 });
  try {
    return (await generator.nextLogits([1, 5, 9, 40], weights)).slice();
  } finally {
    await generator.destroy();
  }
}

describe.each(quantizationMethods)("%s", (method) => {
  test.each([
    ["LoRA", {}],
    ["DoRA", { use_dora: true }],
    ["PiSSA", { init_lora_weights: "pissa" }],
    ["PiSSA with DoRA", { init_lora_weights: "pissa", use_dora: true }],
    ["OLoRA", { init_lora_weights: "olora" }],
    ["whole modules", { modules_to_save: ["up_proj"] }],
  ])("%s starts as the base's function, and a step changes it", async (_, changes) => {
    const model = models[method];
    const adapter = await createAdapter({ ...lora, ...changes }, baseOf(model), 1);
    const weights = new AdapterWeights(device, adapter.bound, adapter.values, "test");
    const base = await logits(model);
    for (const [i, x] of (await logits(model, weights)).entries()) expect(Math.abs(x - base[i]!)).toBeLessThan(2e-4);
    const ids = Int32Array.of(1, 7, 30, 95, 2, 2, 64, 11);
    const micro = {
      batch: 1,
      length: 8,
      ids,
      labels: ids,
      positions: ids.map((__, i) => i),
      segments: new Int32Array(8).fill(1),
    };
    const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
    await step.micro(micro, { lossScale: 1 / 8, isFirst: true, seed: 1, step: 1 });
    await step.update(1e-2, 1);
    const after = await logits(model, weights);
    expect(after.every((x) => Number.isFinite(x))).toBe(true);
    expect(after.some((x, i) => Math.abs(x - base[i]!) > 1e-3)).toBe(true);
    step.destroy();
    weights.destroy();
  });

  test("a module that is trained whole begins with the values of its codes", async () => {
    const adapter = await createAdapter({ ...lora, modules_to_save: ["up_proj"] }, baseOf(models[method]), 1);
    expect(adapter.values.get(saved)).toEqual(await readWeight(models[method], "model.layers.0.mlp.up_proj.weight"));
  });

  test("merging is refused with what to do, on the device and from files; from the plain folder it works", async () => {
    const model = models[method];
    const adapter = await createAdapter(lora, baseOf(model), 1);
    const before = await readWeight(model, "model.layers.0.self_attn.q_proj.weight");
    await expect(mergeAdapter(model, adapter)).rejects.toThrow("is quantised");
    expect(await readWeight(model, "model.layers.0.self_attn.q_proj.weight")).toEqual(before);

    const [folder, files] = [join(scratch, `${method}-adapter`), join(scratch, `${method}-folder`)];
    await saveAdapter(folder, adapter, baseOf(model));
    await quantizeFolder({ model: plain, outputDir: files, quantization: { method, skipModules: [] } });
    const outputDir = join(scratch, `${method}-merged`);
    await expect(mergeIntoFolder({ model: files, adapter: folder, outputDir })).rejects.toThrow(
      `${files}: its weights are quantised (${method}); merge into the model they were made from`,
    );
    expect(existsSync(outputDir)).toBe(false);
    await mergeIntoFolder({ model: plain, adapter: folder, outputDir });
    expect(existsSync(join(outputDir, "model.safetensors"))).toBe(true);
  });
});
