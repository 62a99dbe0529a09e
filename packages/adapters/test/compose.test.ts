/** Adapters made of adapters: stacked, averaged, fused. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Graph, interpret } from "@graft/core/graph";
import { type BaseModel, loadBaseModel, readWeight, writeWeight } from "@graft/core/models";
import { AdapterWeights, type BranchSite } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { expectClose } from "../../kernels/test/close.ts";
import {
  type AdapterConfig,
  baseOf,
  composeAdapters,
  createAdapter,
  loadAdapter,
  type LoadedAdapter,
  mergeAdapter,
  saveAdapter,
} from "../src/index.ts";
import { disturb, logitsOf } from "./survives.ts";

let device: Device;
let model: BaseModel;
const folder = mkdtempSync(join(tmpdir(), "compose-"));
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

async function made(config: AdapterConfig, seed: number): Promise<LoadedAdapter> {
  const adapter = await createAdapter(config, baseOf(model), seed);
  disturb(adapter, 0.1 * (1 + seed / 10));
  return adapter;
}
const lora = { peft_type: "LORA", target_modules: ["q_proj", "down_proj"], r: 4 };
const block = { peft_type: "PFEIFFER" };

test("stacked LoRAs do what the second does on a base into which the first is merged", async () => {
  const [a, b] = [await made(lora, 1), await made({ ...lora, r: 2, target_modules: ["q_proj", "k_proj"] }, 2)];
  const whole = await composeAdapters({ peft_type: "STACK" }, { a, b }, baseOf(model));
  const stacked = await logitsOf(model, whole);
  const merged = await mergeAdapter(model, a);
  const want = await logitsOf(model, b);
  merged.unmerge();
  expectClose(stacked, want, { atol: 2e-4, rtol: 1e-4 }, "logits");
  expect(whole.bound.startsAsIdentity).toBe(true);
});

test("an average is the weighted sum of the changes", async () => {
  const base = baseOf(model);
  const parts = { a: await made(lora, 1), b: await made({ ...lora, target_modules: ["q_proj", "v_proj"] }, 2) };
  const weights = [0.3, 1.1];
  const average = await composeAdapters({ peft_type: "AVERAGE", weights }, parts, base);
  const got = await logitsOf(model, average);
  // The same by hand, on the weights.
  const before = new Map<string, Float32Array>();
  const changed = new Map<string, Float32Array>();
  for (const [i, { bound, values }] of Object.values(parts).entries()) {
    if (typeof bound.merge !== "function") throw new Error("LoRA merges");
    for (const [name, compute] of bound.merge(values)) {
      const plain = before.get(name) ?? (await readWeight(model, name));
      before.set(name, plain);
      const merged = await compute();
      const sum = changed.get(name) ?? plain.slice();
      changed.set(
        name,
        sum.map((x, at) => x + weights[i]! * (merged[at]! - plain[at]!)),
      );
    }
  }
  for (const [name, values] of changed) writeWeight(model, name, values);
  const want = await logitsOf(model);
  for (const [name, values] of before) writeWeight(model, name, values);
  expectClose(got, want, { atol: 2e-4, rtol: 1e-4 }, "logits");
  // Without weights the mean: of one adapter twice, that adapter.
  const twice = await composeAdapters({ peft_type: "AVERAGE" }, { x: parts.a, y: parts.a }, base);
  expectClose(await logitsOf(model, twice), await logitsOf(model, parts.a), { atol: 2e-5, rtol: 1e-5 }, "logits");
});

test("fusion is attention over what the adapters do, as the paper's formula has it", async () => {
  const site: BranchSite = { kind: "branch", branch: "mlp", name: "model.layers.0.mlp", width: 32, layer: 0 };
  const parts = { a: await made(block, 1), b: await made(block, 2), c: await made(block, 3) };
  const whole = await composeAdapters({ peft_type: "FUSION" }, parts, baseOf(model), { seed: 5 });
  const random = new Random(8);
  const tokens = 3;
  const noise = (count: number) => Float64Array.from({ length: count }, () => random.normal());
  for (const [key, values] of whole.values)
    if (key.startsWith("fusion."))
      whole.values.set(
        key,
        values.map((x) => x + 0.3 * random.normal()),
      );

  const run = (adapter: LoadedAdapter, inputs: Record<string, Float64Array>): Float64Array => {
    const graph = new Graph();
    const shapes = new Map(adapter.bound.parameters.map((p) => [p.key, p.shape]));
    const hooks = adapter.bound.hooks({
      graph,
      seed: undefined,
      parameter: (key) => graph.param(key, shapes.get(key)!),
    });
    const input = (name: string) => graph.input(name, [tokens, site.width]);
    const out = hooks.branch!(site, input("x"), () => input("y"), input("residual"));
    const params = Object.fromEntries([...adapter.values].map(([key, v]) => [key, Float64Array.from(v)]));
    return interpret(graph, [out], { inputs, params })[0]!;
  };
  const inputs = { x: noise(tokens * 32), y: noise(tokens * 32), residual: noise(tokens * 32) };
  const changes = Object.values(parts).map((part) => run(part, inputs).map((v, i) => v - inputs.y[i]!));
  const get = (which: string) => whole.values.get(`fusion.${site.name}.${which}`)!;
  const times = (matrix: Float32Array, v: ArrayLike<number>, bias?: Float32Array) =>
    Array.from({ length: 32 }, (_, r) =>
      Array.from({ length: 32 }, (__, c) => matrix[r * 32 + c]! * v[c]!).reduce((p, q) => p + q, bias?.[r] ?? 0),
    );
  const want = Float64Array.from(inputs.y);
  for (let t = 0; t < tokens; t++) {
    const row = (v: Float64Array) => v.subarray(t * 32, (t + 1) * 32);
    const query = times(get("query.weight"), row(inputs.y), get("query.bias"));
    const scores = changes.map((change) => {
      const key = times(get("key.weight"), row(change), get("key.bias"));
      return key.reduce((sum, k, i) => sum + k * query[i]!, 0);
    });
    const total = scores.reduce((sum, s) => sum + Math.exp(s), 0);
    for (const [n, change] of changes.entries()) {
      const value = times(get("value.weight"), row(change));
      for (let i = 0; i < 32; i++) want[t * 32 + i]! += (Math.exp(scores[n]!) / total) * value[i]!;
    }
  }
  expectClose(run(whole, inputs), want, { atol: 1e-12, rtol: 1e-10 }, "fused block");
});

test("training a fusion changes it alone, and its loss falls; its regularization counts", async () => {
  const parts = { a: await made(block, 1), b: await made(block, 2) };
  const whole = await composeAdapters({ peft_type: "FUSION" }, parts, baseOf(model));
  const weights = new AdapterWeights(device, whole.bound, whole.values, "test");
  const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
  const ids = Int32Array.from({ length: 16 }, (_, i) => (7 * i) % 90);
  const batch = {
    batch: 1,
    length: 16,
    ids,
    labels: Int32Array.from(ids, (_, i) => ids[i + 1] ?? -100),
    positions: Int32Array.from(ids, (_, i) => i),
    segments: new Int32Array(16).fill(1),
  };
  const losses: number[] = [];
  for (let i = 0; i < 25; i++) {
    losses.push(await step.micro(batch, { lossScale: 1 / 15, isFirst: true, seed: 0, step: i }));
    await step.update(3e-3, i + 1);
  }
  expect(losses.at(-1)!).toBeLessThan(losses[0]! - 0.3);
  for (const [key, values] of await weights.read()) {
    if (key.startsWith("fusion.")) expect(values).not.toEqual(whole.values.get(key)!);
    else expect(values).toEqual(whole.values.get(key)!);
  }
  step.destroy();
  weights.destroy();
});

test("a composition is saved with its parts, reads again, and does the same", async () => {
  const base = baseOf(model);
  const prefix = await made({ peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 }, 1);
  const parallel = await made({ peft_type: "HE_PARALLEL" }, 2);
  // Mix-and-Match.
  const whole = await composeAdapters({ peft_type: "STACK" }, { prefix, parallel }, base, { trainable: ["parallel"] });
  expect(whole.bound.virtualTokens).toBe(3);
  expect(whole.bound.parameters.filter((p) => p.trainable).every((p) => p.key.startsWith("adapters.parallel."))).toBe(
    true,
  );
  const [first, second] = [join(folder, "mam-1"), join(folder, "mam-2")];
  await saveAdapter(first, whole, base);
  const read = loadAdapter(first, base);
  await saveAdapter(second, read, base);
  for (const file of ["adapter_config.json", "adapter_model.safetensors"])
    expect(readFileSync(join(second, file)).equals(readFileSync(join(first, file)))).toBe(true);
  expect(await logitsOf(model, read)).toEqual(await logitsOf(model, whole));
  expect(await logitsOf(model, read)).not.toEqual(await logitsOf(model, parallel));
});

test("what does not go together is refused by name", async () => {
  const base = baseOf(model);
  const compose = (settings: AdapterConfig, ...parts: readonly AdapterConfig[]) =>
    Promise.all(parts.map((config, i) => made(config, i + 1))).then((all) =>
      composeAdapters(settings, Object.fromEntries(all.map((part, i) => [`p${i}`, part])), base),
    );
  const prompt = { peft_type: "PROMPT_TUNING", num_virtual_tokens: 2 };
  const refused: [AdapterConfig, AdapterConfig[], string][] = [
    [{ peft_type: "STACK" }, [prompt, prompt], "p0 and p1 put virtual tokens before a sequence"],
    [{ peft_type: "AVERAGE" }, [lora, prompt], "p1 puts virtual tokens before a sequence"],
    [{ peft_type: "AVERAGE", weights: [1] }, [lora, lora], "2 adapters and 1 weights"],
    [{ peft_type: "FUSION" }, [block, lora], "p1 (lora) acts on model.layers.0.self_attn.q_proj"],
    [{ peft_type: "FUSION" }, [block, { peft_type: "HOULSBY" }], "p1 is around model.layers.0.self_attn, p0 is not"],
    [{ peft_type: "FUSION" }, [block, prompt], "p1 (prompt-tuning) acts on virtual tokens"],
    [{ peft_type: "STACK" }, [], "needs at least one adapter"],
  ];
  for (const [settings, parts, message] of refused) {
    const error: unknown = await compose(settings, ...parts).catch((e: unknown) => e);
    expect(`${error}`).toContain(message);
    expect(`${error}`).toContain("composition");
  }
  const twice = {
    peft_type: "STACK",
    adapters: [
      { name: "a", config: lora },
      { name: "a", config: lora },
    ],
  };
  expect(createAdapter(twice, base, 1)).rejects.toThrow('the name "a" stands twice');
  const bad = { peft_type: "STACK", adapters: [{ name: "a", config: { ...lora, r: 0 } }] };
  expect(createAdapter(bad, base, 1)).rejects.toThrow("adapter a");
});
