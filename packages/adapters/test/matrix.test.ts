/** Every method on every architecture: what an adapter must survive. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel, models } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, type MicroBatch, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectClose } from "../../kernels/test/close.ts";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import {
  type AdapterConfig,
  type Base,
  baseOf,
  createAdapter,
  loadAdapter,
  type LoadedAdapter,
  mergeAdapter,
  methods,
  saveAdapter,
} from "../src/index.ts";
import { oracle } from "./oracle.ts";

let device: Device;
const root = mkdtempSync(join(tmpdir(), "matrix-"));
beforeAll(async () => {
  device = await openDevice();
});
afterAll(async () => {
  await device.close();
  rmSync(root, { recursive: true, force: true });
});

const ids = [1, 5, 9, 40, 77, 12, 30, 3];
const prompt = ids.slice(0, 6);
const request = { promptIds: prompt, maxNewTokens: 4, eosTokenIds: [], logprobs: true };

/** One row of `ids`, each to be followed by the next; `virtual` rows stand before it. */
function batchOf(virtual: number): MicroBatch & { readonly supervised: number } {
  const all = Int32Array.from([...Array.from({ length: virtual }, (_, v) => -(v + 1)), ...ids]);
  return {
    batch: 1,
    length: all.length,
    ids: all,
    labels: Int32Array.from(all, (_, i) => (i < virtual ? -100 : (all[i + 1] ?? -100))),
    positions: Int32Array.from(all, (_, i) => i),
    segments: new Int32Array(all.length).fill(1),
    supervised: ids.length - 1,
  };
}

/** The tiny config of a method, with targets where the method has no default for the architecture. */
async function fresh(method: { readonly peftType: string; readonly tiny: object }, base: Base): Promise<LoadedAdapter> {
  const config = { peft_type: method.peftType, ...method.tiny } as AdapterConfig;
  try {
    return await createAdapter(config, base, 3);
  } catch (error) {
    if (!/has no default|no norms/.test(`${error}`)) throw error;
    const linear = base.sites.find((site) => site.kind === "linear" && site.layer === 0)!;
    const norm = base.parameters.find((name) => /norm|ln_/.test(name))!;
    const module = method.peftType === "LN_TUNING" ? norm.split(".").at(-2)! : linear.name.split(".").at(-1)!;
    return createAdapter({ ...config, target_modules: [module], feedforward_modules: [] }, base, 3);
  }
}

for (const definition of Object.values(models)) {
  describe(definition.modelType, () => {
    const folder = join(root, definition.modelType);
    let model: BaseModel;
    let quantised: BaseModel;
    let generator: Generator;
    let plain: Float32Array;
    beforeAll(async () => {
      const config = { model_type: definition.modelType, ...definition.tiny[0] };
      writeTinyModel(folder, { config });
      model = loadBaseModel(device, folder);
      quantised = loadBaseModel(device, folder, { quantization: { method: "int8", skipModules: [] } });
      generator = new Generator(model, { maxSequences: 2 });
      plain = (await generator.nextLogits(prompt, undefined)).slice();
      // The base's own programs stay: no test counts them.
      await generator.generate([request], undefined);
    });
    afterAll(async () => {
      await generator.destroy();
      model.destroy();
      quantised.destroy();
    });

    for (const method of Object.values(methods)) {
      test(method.name, async () => {
        const live = device.liveBuffers;
        const base = baseOf(model);
        const adapter = await fresh(method, base);
        const { bound } = adapter;
        const weights = new AdapterWeights(device, bound, adapter.values, method.name);

        const start = (await generator.nextLogits(prompt, weights)).slice();
        const moved = Math.max(...start.map((x, i) => Math.abs(x - plain[i]!)));
        if (bound.startsAsIdentity) expect(moved).toBeLessThan(5e-4);
        else expect(moved).toBeGreaterThan(1e-5);
        await generator.forget(weights);

        const batch = batchOf(bound.virtualTokens ?? 0);
        await expectOracle(model, adapter, batch);
        const first = await trained(model, weights, batch);
        expect(first.losses.at(-1)!).toBeLessThan(first.losses[0]! - 0.3);
        const values = await weights.read();
        for (const { key, trainable } of bound.parameters)
          if (!trainable) expect(`${values.get(key)!}`).toBe(`${adapter.values.get(key)!}`);
        const moving = bound.parameters.filter((p) => p.trainable);
        expect(moving.some(({ key }) => `${values.get(key)!}` !== `${adapter.values.get(key)!}`)).toBe(true);
        const done: LoadedAdapter = { ...adapter, values };

        const [one, two] = [join(folder, `${method.name}-1`), join(folder, `${method.name}-2`)];
        await saveAdapter(one, done, base);
        const read = loadAdapter(one, base);
        await saveAdapter(two, read, base);
        for (const file of ["adapter_config.json", "adapter_model.safetensors"])
          expect(readFileSync(join(two, file)).equals(readFileSync(join(one, file)))).toBe(true);

        const own = new AdapterWeights(device, read.bound, read.values, method.name);
        const mixed = await generator.generate(
          [
            { ...request, adapter: own },
            { ...request, adapter: undefined },
          ],
          undefined,
        );
        expect(mixed[0]).toEqual((await generator.generate([request], own))[0]!);
        expect(mixed[1]).toEqual((await generator.generate([request], undefined))[0]!);
        const applied = (await generator.nextLogits(prompt, own)).slice();
        expect(Math.max(...applied.map((x, i) => Math.abs(x - plain[i]!)))).toBeGreaterThan(1e-2);

        if (typeof read.bound.merge === "function") {
          const merged = await mergeAdapter(model, read);
          const folded = (await generator.nextLogits(prompt, undefined)).slice();
          merged.unmerge();
          const scale = Math.max(...applied.map(Math.abs));
          expect(Math.max(...folded.map((x, i) => Math.abs(x - applied[i]!)))).toBeLessThan(1e-4 * Math.max(1, scale));
        }
        await generator.forget(own);
        own.destroy();
        weights.destroy();
        expect(`${await generator.nextLogits(prompt, undefined)}`).toBe(`${plain}`);

        const there = await fresh(method, baseOf(quantised));
        const onQuantised = new AdapterWeights(device, there.bound, there.values, method.name);
        const { losses } = await trained(quantised, onQuantised, batch, 2);
        expect(Math.abs(losses[0]! - first.losses[0]!)).toBeLessThan(0.2);
        onQuantised.destroy();
        expect(device.liveBuffers).toBe(live);
      });
    }
  });
}

/** Loss and every gradient of an adapter away from its start are the float64 interpreter's. */
async function expectOracle(model: BaseModel, fresh: LoadedAdapter, batch: ReturnType<typeof batchOf>): Promise<void> {
  const values = new Map(
    [...fresh.values].map(([key, own], n) => [key, own.map((x, i) => x + 0.05 * Math.sin(i + 7 * n))]),
  );
  const adapter = { ...fresh, values };
  const want = await oracle(model, adapter, batch);
  const weights = new AdapterWeights(model.device, adapter.bound, values, "oracle");
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
  try {
    const loss = await step.micro(batch, { lossScale: 1 / batch.supervised, isFirst: true, seed: 0, step: 0 });
    expect(Math.abs(loss - want.loss)).toBeLessThan(2e-4);
    for (const [key, got] of await step.gradients())
      expectClose(got, want.gradients.get(key)!, { atol: 5e-5, rtol: 5e-3 }, key);
  } finally {
    step.destroy();
    weights.destroy();
  }
}

/** Steps on one batch, and the loss before each. */
async function trained(model: BaseModel, weights: AdapterWeights, batch: ReturnType<typeof batchOf>, steps = 30) {
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  const losses: number[] = [];
  try {
    for (let i = 0; i < steps; i++) {
      losses.push(await step.micro(batch, { lossScale: 1 / batch.supervised, isFirst: true, seed: 1, step: i }));
      await step.update(2e-2, i + 1);
    }
  } finally {
    step.destroy();
  }
  return { losses };
}
