/** Several adapters of several methods on one base on the device; and combined and converted ones in use. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Generator } from "@graft/core/generate";
import { type BaseModel, loadBaseModel, storedBytes } from "@graft/core/models";
import type { AdapterWeights } from "@graft/core/nn";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import {
  type AdapterConfig,
  AdapterSet,
  adapterVersion,
  combineAdapters,
  convertToLora,
  createAdapter,
  loadAdapter,
  type LoadedAdapter,
  saveAdapter,
} from "../src/index.ts";
import { deltasOf } from "../src/delta.ts";

const folder = mkdtempSync(join(tmpdir(), "adapter-set-"));
let device: Device;
let model: BaseModel;
let generator: Generator;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
  generator = new Generator(model, { maxSequences: 1 });
});
afterAll(async () => {
  await generator.destroy();
  model.destroy();
  await device.close();
});

const newSet = () => new AdapterSet(model, { beforeFree: (weights) => generator.forget(weights) });
const logits = async (weights?: AdapterWeights): Promise<Float32Array> =>
  (await generator.nextLogits([1, 5, 9, 40, 77, 12], weights)).slice();

const lora = (fields: object): AdapterConfig => ({ peft_type: "LORA", ...fields });
const configs = {
  lora: { peft_type: "LORA", r: 4, target_modules: ["q_proj", "v_proj"] },
  loha: { peft_type: "LOHA", r: 2, target_modules: ["q_proj", "down_proj"] },
  ia3: { peft_type: "IA3", target_modules: ["k_proj", "down_proj"], feedforward_modules: ["down_proj"] },
  prompt: { peft_type: "PROMPT_TUNING", num_virtual_tokens: 3, task_type: "CAUSAL_LM" },
};

async function moved(config: AdapterConfig, set: AdapterSet, seed = 3): Promise<LoadedAdapter> {
  const adapter = await createAdapter(config, set.base, seed);
  for (const [n, values] of [...adapter.values.values()].entries())
    for (let i = 0; i < values.length; i++) values[i] = values[i]! + 0.05 * Math.sin(seed * i + 7 * n);
  return adapter;
}

test("adapters of four methods share one base: each takes its own bytes, and without them the base is what it was, bit for bit", async () => {
  const plain = await logits();
  const set = newSet();
  const before = device.liveBytes;
  const outputs = new Map<string, Float32Array>();
  let expected = 0;
  for (const [name, config] of Object.entries(configs)) {
    const adapter = await moved(config, set);
    const info = await set.attach(name, adapter);
    expected += storedBytes(adapter.bound.parameters.map(({ key, shape }) => ({ name: key, shape })));
    expect(device.liveBytes - before).toBe(expected);
    expect(info).toMatchObject({ name, method: name === "prompt" ? "prompt-tuning" : name, path: "" });
  }
  for (const name of Object.keys(configs)) {
    await set.activate(name);
    expect(set.active.map((entry) => entry.name)).toEqual([name]);
    outputs.set(name, await logits(set.active[0]!.weights));
  }
  expect(new Set([plain, ...outputs.values()].map((x) => x.join())).size).toBe(5);
  await set.activate(["ia3", "lora"]);
  expect(set.active.map(({ weights }) => weights.adapter.method)).toEqual(["ia3", "lora"]);
  expect(set.inspect("lora")).toMatchObject({ method: "lora", isActive: true });
  expect(set.inspect("loha").isActive).toBe(false);
  expect(set.inspect("lora").tensors.map(({ key }) => key)).toContain(
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
  );

  await set.detach("lora");
  expect(set.active.map((entry) => entry.name)).toEqual(["ia3"]);
  expect(await logits(set.active[0]!.weights)).toEqual(outputs.get("ia3")!);
  for (const name of ["ia3", "loha", "prompt"]) await set.detach(name);
  expect([set.list(), set.active]).toEqual([[], []]);
  expect(await logits()).toEqual(plain);
});

test("names are unique and have near ones; a failure changes nothing", async () => {
  const set = newSet();
  const adapter = await moved(configs.lora, set);
  const path = join(folder, "lora");
  await saveAdapter(path, adapter, set.base);
  const before = device.liveBytes;
  const { version } = await set.attach("math", path);
  expect(version).toBe(adapterVersion(path));
  const held = device.liveBytes;
  await expect(set.attach("math", adapter)).rejects.toThrow('adapter name "math": is taken');
  await expect(set.attach("no name", adapter)).rejects.toThrow(
    'adapter name "no name": is 1 to 64 letters, digits and . _ : -',
  );
  await expect(set.attach("other", join(folder, "nowhere"))).rejects.toThrow("no such adapter folder");
  await expect(set.detach("mat")).rejects.toThrow('no adapter named "mat"; did you mean math?');
  await set.activate("math");
  await expect(set.activate(["math", "maths"])).rejects.toThrow('no adapter named "maths"; did you mean math?');
  await expect(set.activate(["math", "math"])).rejects.toThrow('adapter "math": is to be activated twice');
  expect(set.active.map(({ name }) => name)).toEqual(["math"]);
  expect(() => set.inspect("x")).toThrow('no adapter named "x"');
  expect(device.liveBytes).toBe(held);

  // The same bytes are on the device once.
  await set.attach("again", path);
  expect(device.liveBytes).toBe(held);
  expect(() => set.rename("math", "again")).toThrow('there is an adapter named "again" already');
  expect(set.rename("math", "sums").name).toBe("sums");
  expect(set.list().map(({ name }) => name)).toEqual(["again", "sums"]);
  expect(set.active.map(({ name }) => name)).toEqual(["sums"]);
  await set.detach("again");
  expect(device.liveBytes).toBe(held);
  await set.destroy();
  expect(device.liveBytes).toBe(before);
});

test("a converted LoHa does what the LoHa did, from its own folder", async () => {
  const set = newSet();
  const loha = await moved(configs.loha, set);
  const { adapter, relativeError } = await convertToLora(loha, set.base, { energy: 0.999999 });
  expect(relativeError).toBeLessThan(1e-3);
  await saveAdapter(join(folder, "converted"), adapter, set.base);
  await set.attach("loha", loha);
  await set.attach("lora", join(folder, "converted"));
  const plain = await logits();
  const before = await logits(await active(set, "loha"));
  const after = await logits(await active(set, "lora"));
  expect(Math.max(...before.map((x, i) => Math.abs(x - plain[i]!)))).toBeGreaterThan(1e-2);
  for (const [i, x] of before.entries()) expect(Math.abs(after[i]! - x)).toBeLessThan(1e-3);
  await set.destroy();
  await expect(convertToLora(await moved(configs.prompt, set), set.base, { rank: 1 })).rejects.toThrow(
    "prompt-tuning cannot be merged: virtual tokens change no weight",
  );
  const norms = await moved({ peft_type: "LN_TUNING" }, set);
  await expect(convertToLora(norms, set.base, { rank: 1 })).rejects.toThrow(
    /ln-tuning changes .*norm\.weight, which is no weight of a linear layer/,
  );
});

async function active(set: AdapterSet, name: string): Promise<AdapterWeights | undefined> {
  await set.activate(name);
  return set.active[0]?.weights;
}

test("adapters on different modules, an embedding and an output layer among them, combine to the weighted sum of their changes", async () => {
  const set = newSet();
  const one = await moved(lora({ r: 2, target_modules: ["embed_tokens", "q_proj"] }), set, 1);
  const two = await moved(lora({ r: 3, target_modules: ["q_proj", "lm_head"], layers_to_transform: [1] }), set, 2);
  const parts = [
    { name: "one", adapter: one, weight: 0.8 },
    { name: "two", adapter: two, weight: -0.5 },
  ];
  const sums = new Map<string, Float64Array>();
  for (const { adapter, weight } of parts)
    for (const { parameter, compute } of deltasOf(adapter, set.base)) {
      const { data } = await compute();
      const before = sums.get(parameter);
      sums.set(
        parameter,
        data.map((x, i) => weight * x + (before?.[i] ?? 0)),
      );
    }
  for (const options of [{ combinationType: "cat" }, { combinationType: "svd", svdRank: 5 }] as const) {
    const path = join(folder, options.combinationType);
    await saveAdapter(path, await combineAdapters(parts, set.base, options), set.base);
    const combined = loadAdapter(path, set.base);
    const deltas = deltasOf(combined, set.base);
    expect(deltas.map(({ parameter }) => parameter).toSorted()).toEqual([...sums.keys()].toSorted());
    for (const { parameter, compute } of deltas) {
      const { data } = await compute();
      for (const [i, x] of sums.get(parameter)!.entries()) expect(Math.abs(data[i]! - x)).toBeLessThan(1e-5);
    }
  }
});
