/** What PEFT 0.21 writes and reads, by its source: keys, dtypes, target rules; and merging on bases where that is not plain. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Generator } from "@graft/core/generate";
import { fromFloat32, openSafetensors, type TensorData, toFloat32, writeSafetensors } from "@graft/core/io";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import {
  type AdapterConfig,
  baseOf,
  bindAdapter,
  createAdapter,
  loadAdapter,
  type LoadedAdapter,
  mergeAdapter,
  mergeIntoFolder,
  saveAdapter,
} from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "peft-files-"));
const bases = {
  plain: {},
  biased: { attention_bias: true, mlp_bias: true },
  tied: { tie_word_embeddings: true },
};
let device: Device;
let models: Record<keyof typeof bases, BaseModel>;
const baseFolder = (name: string): string => join(folder, "bases", name);
beforeAll(async () => {
  device = await openDevice();
  const load = (name: keyof typeof bases) =>
    loadBaseModel(device, writeTinyModel(baseFolder(name), { config: bases[name] }));
  models = { plain: load("plain"), biased: load("biased"), tied: load("tied") };
});
afterAll(async () => {
  for (const model of Object.values(models)) model.destroy();
  await device.close();
});

const config = (changes: object = {}): AdapterConfig => ({
  peft_type: "LORA",
  r: 2,
  lora_alpha: 4,
  target_modules: ["q_proj", "down_proj"],
  ...changes,
});
const layer = "base_model.model.model.layers.0";

async function logits(model: BaseModel, adapter?: LoadedAdapter): Promise<Float32Array> {
  const weights = adapter && new AdapterWeights(device, adapter.bound, adapter.values, "adapter");
  const generator = new Generator(model, { maxSequences: 1 });
  try {
    return (await generator.nextLogits([1, 5, 9, 40, 77, 12], weights)).slice();
  } finally {
    await generator.destroy();
    weights?.destroy();
  }
}

/** An adapter away from its start: every value moved. */
async function changed(model: BaseModel, changes: object): Promise<LoadedAdapter> {
  const adapter = await createAdapter(config(changes), baseOf(model), 5);
  for (const [n, values] of [...adapter.values.values()].entries())
    for (let i = 0; i < values.length; i++) values[i] = values[i]! + 0.05 * Math.sin(i + 7 * n);
  return adapter;
}

function expectClose(got: Float32Array, want: Float32Array, tolerance: number): void {
  for (const [i, x] of want.entries()) expect(Math.abs(got[i]! - x)).toBeLessThan(tolerance);
}

test.each(["lora_only", "all"])(
  "bias %s: what is trained, its keys, merged as applied, and older files' keys",
  async (bias) => {
    const model = models.biased;
    const base = baseOf(model);
    const adapter = await changed(model, { bias });
    const keys = adapter.bound.parameters.map((p) => p.key).filter((key) => key.endsWith(".bias"));
    const targeted = [`${layer}.self_attn.q_proj.base_layer.bias`, `${layer}.mlp.down_proj.base_layer.bias`];
    const others = ["self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj"];
    const ofFirst = [...targeted, ...(bias === "all" ? others.map((name) => `${layer}.${name}.bias`) : [])];
    expect(keys.filter((key) => key.startsWith(layer)).toSorted()).toEqual(ofFirst.toSorted());
    expect(keys.length).toBe(2 * ofFirst.length);

    const applied = await logits(model, adapter);
    const merged = await mergeAdapter(model, adapter);
    expectClose(await logits(model), applied, 1e-3);
    merged.unmerge();

    const weights = new AdapterWeights(device, adapter.bound, adapter.values, "bias");
    const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
    const ids = Int32Array.of(1, 5, 9, 40);
    const batch = { batch: 1, length: 4, ids, labels: Int32Array.of(5, 9, 40, -100) };
    const rest = { positions: Int32Array.of(0, 1, 2, 3), segments: new Int32Array(4).fill(1) };
    await step.micro({ ...batch, ...rest }, { lossScale: 1 / 3, isFirst: true, seed: 0, step: 0 });
    const gradients = new Map(await step.gradients());
    // A key's bias shifts all scores of a query alike: softmax does not see it.
    for (const key of keys.filter((name) => !name.includes("k_proj")))
      expect(Math.max(...gradients.get(key)!.map(Math.abs))).toBeGreaterThan(1e-6);
    step.destroy();
    weights.destroy();

    const [now, old] = [join(folder, bias), join(folder, `${bias}-old`)];
    await saveAdapter(now, adapter, base);
    mkdirSync(old);
    writeFileSync(join(old, "adapter_config.json"), readFileSync(join(now, "adapter_config.json")));
    const file = openSafetensors(join(now, "adapter_model.safetensors"));
    const renamed = [...file.tensors].map(([name, { dtype, shape }]): [string, TensorData] => [
      name.replace(".base_layer.bias", ".bias"),
      { dtype, shape, bytes: file.read(name) },
    ]);
    file.close();
    writeSafetensors(join(old, "adapter_model.safetensors"), new Map(renamed), { format: "pt" });
    const read = loadAdapter(old, base);
    expect(read.values).toEqual(adapter.values);
    await saveAdapter(join(folder, `${bias}-again`), read, base);
    expect(readFileSync(join(folder, `${bias}-again/adapter_model.safetensors`))).toEqual(
      readFileSync(join(old, "adapter_model.safetensors")),
    );
  },
);

test.each(["F16", "BF16"] as const)("an adapter in %s is written back byte for byte", async (dtype) => {
  const base = baseOf(models.plain);
  const [f32, half, again] = ["f32", "half", "again"].map((name) => join(folder, dtype, name)) as [
    string,
    string,
    string,
  ];
  await saveAdapter(f32, await changed(models.plain, {}), base);
  mkdirSync(half);
  const text = readFileSync(join(f32, "adapter_config.json"), "utf8").replace('"lora_alpha": 4', '"lora_alpha": 4.0');
  writeFileSync(join(half, "adapter_config.json"), text);
  const file = openSafetensors(join(f32, "adapter_model.safetensors"));
  const tensors = [...file.tensors].map(([name, { shape }]): [string, TensorData] => [
    name,
    { dtype, shape, bytes: fromFloat32(toFloat32(file.read(name), "F32", name), dtype) },
  ]);
  file.close();
  writeSafetensors(join(half, "adapter_model.safetensors"), new Map(tensors), { format: "pt" });
  await saveAdapter(again, loadAdapter(half, base), base);
  for (const name of readdirSync(half)) expect(readFileSync(join(again, name))).toEqual(readFileSync(join(half, name)));
});

test("an output layer under LoRA is saved beside it, as PEFT does; a file without it reads too", async () => {
  const base = baseOf(models.plain);
  const adapter = await changed(models.plain, { target_modules: ["lm_head"] });
  const [whole, bare, again] = ["head", "head-bare", "head-again"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await saveAdapter(whole, adapter, base);
  const file = openSafetensors(join(whole, "adapter_model.safetensors"));
  const key = "base_model.model.lm_head.base_layer.weight";
  expect(toFloat32(file.read(key), "F32", key)).toEqual(Float32Array.from(await base.read("lm_head.weight")));
  const rest = [...file.tensors].filter(([name]) => name !== key);
  mkdirSync(bare);
  writeFileSync(join(bare, "adapter_config.json"), readFileSync(join(whole, "adapter_config.json")));
  writeSafetensors(
    join(bare, "adapter_model.safetensors"),
    new Map(rest.map(([name, { dtype, shape }]) => [name, { dtype, shape, bytes: file.read(name) }])),
    { format: "pt" },
  );
  file.close();
  await saveAdapter(again, loadAdapter(bare, base), base);
  expect(readFileSync(join(again, "adapter_model.safetensors"))).toEqual(
    readFileSync(join(bare, "adapter_model.safetensors")),
  );
});

const targets = (changes: object, origin: "new" | "file" = "new"): string[] =>
  bindAdapter(config(changes), baseOf(models.plain), "test", origin)
    .parameters.filter(({ key }) => key.endsWith("lora_A.weight"))
    .map(({ key }) => key.slice("base_model.model.model.".length, -".lora_A.weight".length));

test("targets are chosen by PEFT's rules", () => {
  expect(targets({ target_modules: "All-Linear" }).length).toBe(14);
  expect(targets({ target_modules: ["q_proj"], layers_to_transform: 1 })).toEqual(["layers.1.self_attn.q_proj"]);
  expect(targets({ target_modules: ["q_proj"], layers_to_transform: [1], layers_pattern: "layers" })).toEqual([
    "layers.1.self_attn.q_proj",
  ]);
  // A whole path is taken whatever its layer.
  const whole = ["model.layers.0.self_attn.v_proj", "q_proj"];
  expect(targets({ target_modules: whole, layers_to_transform: [1] })).toEqual([
    "layers.0.self_attn.v_proj",
    "layers.1.self_attn.q_proj",
  ]);
  expect(() => targets({ target_modules: ".*q_proj", layers_to_transform: [1] })).toThrow(
    "test: layers_to_transform goes with target_modules as a list of names, not with a text",
  );
  expect(() => targets({ target_modules: "all-linear", layers_pattern: "layers" })).toThrow("layers_pattern goes with");
  expect(() => targets({ target_modules: ["q_proj"], layers_pattern: "layers" })).toThrow(
    "layers_pattern needs layers_to_transform",
  );
  // What is trained whole is no target.
  expect(targets({ target_modules: ["q_proj", "up_proj"], modules_to_save: ["layers.1.mlp", "self_attn"] })).toEqual([
    "layers.0.mlp.up_proj",
  ]);
  expect(targets({ target_modules: "all-linear", exclude_modules: ".*mlp.*" }).length).toBe(8);
});

test("rank and alpha patterns are regular expressions over the end of a path, the first that fits wins", () => {
  const { parameters } = bindAdapter(
    config({
      target_modules: ["q_proj", "v_proj"],
      rank_pattern: { "layers\\.[1-9].*q_proj": 3, "(q|v)_proj": 5, "^model.layers.0.self_attn.q_proj": 7 },
    }),
    baseOf(models.plain),
    "test",
  );
  const ranks = parameters.filter(({ key }) => key.endsWith("A.weight")).map(({ shape }) => shape[0]);
  expect(ranks).toEqual([5, 5, 3, 5]);
});

test("a target that is not there is an error in a new config, and passed over in a file", () => {
  const names = { target_modules: ["q_proj", "query_key_value"] };
  expect(() => targets(names)).toThrow('target module "query_key_value" is no module of this model');
  expect(targets(names, "file")).toEqual(["layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj"]);
  // One that selects nothing at all is for another model.
  expect(() => targets({ target_modules: ["query_key_value"] }, "file")).toThrow(
    'target module "query_key_value" is no module of this model',
  );
});

test.each([
  ["lora_bias", true],
  ["alora_invocation_tokens", [5]],
  ["layer_replication", [[0, 2]]],
  ["trainable_token_indices", [1, 2]],
  ["kasa_config", {}],
])("%s makes another function of it and is refused, not passed over", (field, value) => {
  expect(() => targets({ [field]: value })).toThrow(`test: ${field} (`);
  expect(targets({ [field]: null }).length).toBe(4);
});

test("modules_to_save that is nowhere lists near names", () => {
  expect(() => targets({ modules_to_save: ["lm_haed"] })).toThrow(
    'modules_to_save names "lm_haed", which is no module with weights; did you mean lm_head?',
  );
});

test("on a tied base a module saved whole is that module alone", async () => {
  const model = models.tied;
  const plain = await logits(model);
  const head = await changed(model, { modules_to_save: ["lm_head"] });
  const key = "base_model.model.lm_head.weight";
  expect(head.bound.parameters.find((p) => p.key === key)!.shape).toEqual([96, 32]);
  // Only the saved head differs from the base: twice its weight, twice the logits.
  const twice = await createAdapter(config({ modules_to_save: ["lm_head"] }), baseOf(model), 1);
  twice.values.set(
    key,
    twice.values.get(key)!.map((x) => 2 * x),
  );
  expectClose(
    await logits(model, twice),
    plain.map((x) => 2 * x),
    1e-4,
  );
  // The input rows of tokens that do not occur are free to change: a head of its own does not see them.
  const rows = await createAdapter(config({ modules_to_save: ["embed_tokens"] }), baseOf(model), 1);
  rows.values.get("base_model.model.model.embed_tokens.weight")!.fill(3, 50 * 32, 60 * 32);
  expectClose(await logits(model, rows), plain, 1e-5);
  expect(() =>
    bindAdapter(config({ modules_to_save: ["embed_tokens"], ensure_weight_tying: true }), baseOf(model), "test"),
  ).toThrow("ensure_weight_tying on a base with a tied output layer");
});

test("a merge that would change one side of a tie is refused on the device and parts the two in a folder", async () => {
  const model = models.tied;
  const plain = await logits(model);
  for (const [name, changes] of Object.entries({
    saved: { modules_to_save: ["lm_head"] },
    head: { target_modules: ["lm_head", "q_proj"] },
    embedding: { target_modules: ["embed_tokens"] },
  })) {
    const adapter = await changed(model, changes);
    const applied = await logits(model, adapter);
    await expect(mergeAdapter(model, adapter)).rejects.toThrow("is one tensor with another module's weight");
    expect(await logits(model)).toEqual(plain);
    await saveAdapter(join(folder, "tied", name), adapter, baseOf(model));
    const outputDir = join(folder, "tied", `${name}-merged`);
    await mergeIntoFolder({ model: baseFolder("tied"), adapter: join(folder, "tied", name), outputDir });
    const merged = loadBaseModel(device, outputDir);
    expectClose(await logits(merged), applied, 1e-3);
    merged.destroy();
  }
});

test.each(["F16", "BF16"] as const)("unmerging a %s base restores it bit for bit", async (dtype) => {
  const model = loadBaseModel(device, writeTinyModel(baseFolder(dtype), { dtype }));
  const bytes = async () => Promise.all([...model.weights.values()].map(({ buffer }) => device.read(buffer)));
  const before = await bytes();
  const first = await mergeAdapter(model, await changed(model, { target_modules: "all-linear" }));
  const between = await bytes();
  expect(between).not.toEqual(before);
  const second = await mergeAdapter(model, await changed(model, { use_dora: true, modules_to_save: ["norm"] }));
  second.unmerge();
  expect(await bytes()).toEqual(between);
  first.unmerge();
  expect(await bytes()).toEqual(before);
  // A result that the storage cannot hold leaves the base as it was.
  const huge = await changed(model, { target_modules: "all-linear" });
  for (const part of ["A", "B"])
    huge.values.get(`${layer.replace("0", "1")}.mlp.down_proj.lora_${part}.weight`)!.fill(1e20);
  await expect(mergeAdapter(model, huge)).rejects.toThrow(/down_proj\.weight: value \d+ is .*does not hold/);
  expect(await bytes()).toEqual(before);
  model.destroy();
});

test("a merged folder is a model of its own: tensors, dtypes and files of the base, and it replaces nothing", async () => {
  const model = baseFolder("half");
  const base = loadBaseModel(device, writeTinyModel(model, { dtype: "BF16" }));
  writeFileSync(join(model, "tokenizer_config.json"), "{}");
  writeFileSync(join(model, "notes.txt"), "not a part of the model");
  const adapter = join(folder, "half-lora");
  await saveAdapter(adapter, await changed(base, {}), baseOf(base));
  const outputDir = join(folder, "half-merged");
  const seen: string[] = [];
  await mergeIntoFolder({ model, adapter, outputDir, onTensor: (done, total) => seen.push(`${done}/${total}`) });
  expect(readdirSync(outputDir).toSorted()).toEqual(["config.json", "model.safetensors", "tokenizer_config.json"]);
  const [from, to] = [model, outputDir].map((path) => openSafetensors(join(path, "model.safetensors"))) as [
    ReturnType<typeof openSafetensors>,
    ReturnType<typeof openSafetensors>,
  ];
  expect([...to.tensors.keys()].toSorted()).toEqual([...from.tensors.keys()].toSorted());
  for (const [name, { dtype }] of to.tensors) {
    expect(dtype).toBe("BF16");
    if (!/q_proj|down_proj/.test(name)) expect(to.read(name)).toEqual(from.read(name));
    else expect(to.read(name)).not.toEqual(from.read(name));
  }
  expect(seen.at(-1)).toBe(`${from.tensors.size}/${from.tensors.size}`);
  await expect(mergeIntoFolder({ model, adapter, outputDir })).rejects.toThrow("is not empty");
  await expect(
    mergeIntoFolder({ model, adapter: join(folder, "nowhere"), outputDir: join(folder, "none") }),
  ).rejects.toThrow("no such adapter folder");
  from.close();
  to.close();
  base.destroy();
});

test("a config field that is not known is kept, and named; what PEFT writes by itself is not", async () => {
  const base = baseOf(models.plain);
  const adapter = await changed(models.plain, { my_option: 3, megatron_core: "megatron.core", eva_config: null });
  const [first, second] = [join(folder, "unread-1"), join(folder, "unread-2")];
  await saveAdapter(first, adapter, base);
  const read = loadAdapter(first, base);
  expect(read.unread).toEqual(["my_option"]);
  await saveAdapter(second, read, base);
  expect(readFileSync(join(second, "adapter_config.json"), "utf8")).toContain('"my_option": 3');
});
