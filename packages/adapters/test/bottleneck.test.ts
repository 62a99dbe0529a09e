/** Every bottleneck method on a whole model: against the float64 interpreter, how it starts, what it trains, its files, its errors. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ConfigError, UnknownName } from "@graft/core/errors";
import { Generator } from "@graft/core/generate";
import { openSafetensors, type TensorData, writeSafetensors } from "@graft/core/io";
import { type BaseModel, loadBaseModel, models, sitesOf, traceModelOf, traceSequences } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { adamwDefaults, type MicroBatch, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import { expectClose } from "../../kernels/test/close.ts";
import {
  type AdapterConfig,
  type Base,
  baseOf,
  bindAdapter,
  createAdapter,
  loadAdapter,
  type LoadedAdapter,
  mergeAdapter,
  saveAdapter,
} from "../src/index.ts";
import { oracle } from "./oracle.ts";

const folder = mkdtempSync(join(tmpdir(), "bottleneck-"));
let device: Device;
let model: BaseModel;
let base: Base;
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base"), { config: { mlp_bias: true } }));
  base = baseOf(model);
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

const paper = (changes: object): AdapterConfig => ({ peft_type: "BOTTLENECK", bottleneck_size: 6, ...changes });
const block = (peft_type: string, changes: object = {}): AdapterConfig => ({
  peft_type,
  reduction_factor: 4,
  ...changes,
});

interface Variant {
  readonly config: AdapterConfig;
  readonly method: string;
  /** False where it starts elsewhere than the base. */
  readonly isIdentity?: false;
}
// Smooth activations: where relu bends, f32 and f64 may fall on different sides.
const variants: Record<string, Variant> = {
  series: { config: paper({}), method: "series" },
  "series, learned scale": { config: paper({ scaling: "learned", init_weights: "lora" }), method: "series" },
  "series as the fork starts it": { config: paper({ init_weights: "bert" }), method: "series", isIdentity: false },
  adapterp: { config: paper({ use_adapterp: true }), method: "adapterp" },
  "adapterp, its layers' biases": { config: paper({ use_adapterp: true, bias: "adapter_only" }), method: "adapterp" },
  "adapterp, every bias": {
    config: paper({ use_adapterp: true, bias: "all", non_linearity: "silu" }),
    method: "adapterp",
  },
  parallel: { config: paper({ use_parallel_adapter: true, scaling: 4 }), method: "parallel" },
  "parallel at the MLP, a norm saved whole": {
    config: paper({
      use_parallel_adapter: true,
      target_modules: ["up_proj", "down_proj"],
      non_linearity: "gelu_new",
      modules_to_save: ["model.norm"],
    }),
    method: "parallel",
  },
  houlsby: { config: block("HOULSBY"), method: "houlsby" },
  "houlsby as its paper starts it": {
    config: block("HOULSBY", { init_weights: "houlsby" }),
    method: "houlsby",
    isIdentity: false,
  },
  "houlsby with norms, one layer left out": {
    config: block("HOULSBY", { ln_before: true, ln_after: true, leave_out: [0], scaling: "channel" }),
    method: "houlsby",
  },
  pfeiffer: { config: block("PFEIFFER", { non_linearity: "gelu" }), method: "pfeiffer" },
  "pfeiffer, sizes by layer": {
    config: block("PFEIFFER", { non_linearity: "sigmoid", reduction_factor: { "0": 8, default: 2 } }),
    method: "pfeiffer",
  },
  "he-parallel": { config: block("HE_PARALLEL", { non_linearity: "tanh" }), method: "he-parallel" },
  "he-parallel at both, learned scale": {
    config: block("HE_PARALLEL", { non_linearity: "tanh", mh_adapter: true, scaling: "learned", bottleneck_size: 5 }),
    method: "he-parallel",
  },
  compacter: { config: block("COMPACTER"), method: "compacter" },
  "compacter++ of rank 2, its rule factored": {
    config: block("COMPACTER", { mh_adapter: false, original_ln_before: true, phm_rank: 2, factorized_phm_rule: true }),
    method: "compacter",
  },
  "compacter, weights for all": {
    config: block("COMPACTER", { shared_W_phm: true, init_weights: "bert" }),
    method: "compacter",
    isIdentity: false,
  },
};

const batch: MicroBatch = (() => {
  const [rows, length] = [2, 6];
  const ids = Int32Array.from({ length: rows * length }, (_, i) => (i * 37 + 11) % 96);
  const labels = Int32Array.from({ length: rows * length }, (_, i) => ((i + 1) % length === 0 ? -1 : ids[i + 1]!));
  const positions = Int32Array.from({ length: rows * length }, (_, i) => i % length);
  return { batch: rows, length, ids, labels, positions, segments: new Int32Array(rows * length).fill(1) };
})();
const supervised = batch.labels.filter((label) => label >= 0).length;

async function logits(weights?: AdapterWeights): Promise<Float32Array> {
  const generator = new Generator(model, { maxSequences: 1 });
  try {
    return (await generator.nextLogits([1, 5, 9, 40, 77, 12], weights)).slice();
  } finally {
    await generator.destroy();
  }
}

/** Values that no parameter starts with. */
function disturb({ values }: LoadedAdapter): void {
  for (const [n, own] of [...values.values()].entries())
    for (let i = 0; i < own.length; i++) own[i] = own[i]! + 0.1 * Math.sin(i + 7 * n + 1);
}

describe.each(Object.entries(variants))("%s", (name, { config, method, isIdentity = true }) => {
  test("the config finds its method, and a fresh one starts as that says", async () => {
    const adapter = await createAdapter(config, base, 3);
    expect(adapter.bound.method).toBe(method);
    expect(adapter.bound.startsAsIdentity).toBe(isIdentity);
    const plain = await logits();
    const weights = new AdapterWeights(device, adapter.bound, adapter.values, name);
    const fresh = await logits(weights);
    weights.destroy();
    const apart = Math.max(...fresh.map((x, i) => Math.abs(x - plain[i]!)));
    if (isIdentity) expect(apart).toBeLessThan(1e-5);
    else expect(apart).toBeGreaterThan(1e-5);
  });

  test("loss and every gradient are the float64 interpreter's; only the adapter trains, the base comes back", async () => {
    const plain = await logits();
    const adapter = await createAdapter(config, base, 3);
    disturb(adapter);
    const want = await oracle(model, adapter, batch);
    const live = device.liveBuffers;
    const weights = new AdapterWeights(device, adapter.bound, adapter.values, name);
    const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
    const micro = { lossScale: 1 / supervised, isFirst: true, seed: 0, step: 0 };
    expect(Math.abs((await step.micro(batch, micro)) - want.loss)).toBeLessThan(1e-4);
    const got = await step.gradients();
    expect([...got.keys()]).toEqual(adapter.bound.parameters.filter((p) => p.trainable).map((p) => p.key));
    for (const [key, own] of want.gradients) expectClose(got.get(key)!, own, { atol: 2e-5, rtol: 2e-3 }, key);
    expect(Math.max(...[...want.gradients.values()].flatMap((g) => [...g].map(Math.abs)))).toBeGreaterThan(1e-3);
    const checkpointing = { optimizer: adamwDefaults, maxGradNorm: 0, gradientCheckpointing: true };
    const again = new TrainStep(model, weights, checkpointing);
    await again.micro(batch, micro);
    for (const [key, own] of await again.gradients()) expectClose(own, got.get(key)!, { atol: 1e-6, rtol: 1e-5 }, key);
    again.destroy();
    for (let i = 1; i <= 3; i++) {
      await step.micro(batch, { ...micro, step: i });
      await step.update(1e-2, i);
    }
    const after = await weights.read();
    for (const { key } of adapter.bound.parameters.filter((p) => p.trainable))
      expect(after.get(key)).not.toEqual(adapter.values.get(key)!);
    expect(await step.micro(batch, micro)).toBeLessThan(want.loss);
    step.destroy();
    weights.destroy();
    expect(device.liveBuffers).toBe(live);
    expect(await logits()).toEqual(plain);
  });

  test("saved, read and saved again it has the same bytes, and the file says what was used", async () => {
    const adapter = await createAdapter(config, base, 3);
    disturb(adapter);
    const [first, second] = [join(folder, name, "a"), join(folder, name, "b")];
    await saveAdapter(first, adapter, base);
    const read = loadAdapter(first, base);
    expect(read.values).toEqual(adapter.values);
    expect(read.bound.method).toBe(method);
    await saveAdapter(second, read, base);
    for (const file of ["adapter_model.safetensors", "adapter_config.json"])
      expect(readFileSync(join(second, file)).equals(readFileSync(join(first, file)))).toBe(true);
    expect(Object.keys(read.config)).toContain("non_linearity");
  });

  test("a merge says why there is none", async () => {
    const adapter = await createAdapter(config, base, 3);
    await expect(mergeAdapter(model, adapter)).rejects.toThrow(
      `${method} cannot be merged: there is an activation between its two projections`,
    );
  });
});

test("numbers that the fork must read as floats are written with a point, and targets are written out", async () => {
  const to = join(folder, "fork");
  await saveAdapter(to, await createAdapter(paper({ scaling: 4 }), base, 1), base);
  const text = readFileSync(join(to, "adapter_config.json"), "utf8");
  expect(text).toContain('\n  "adapter_dropout": 0.0,\n');
  expect(text).toContain('\n  "scaling": 4.0,\n');
  expect(text).toContain('\n  "bottleneck_size": 6,\n');
  expect(JSON.parse(text)).toMatchObject({
    target_modules: ["gate_proj", "up_proj", "down_proj"],
    use_parallel_adapter: false,
    use_adapterp: false,
    init_weights: "mam_adapter",
  });
});

test("the fork's spelling of a wrapped output layer reads", async () => {
  const to = join(folder, "head");
  const config = paper({ use_parallel_adapter: true, target_modules: ["lm_head", "v_proj"] });
  const adapter = await createAdapter(config, base, 1);
  await saveAdapter(to, adapter, base);
  const path = join(to, "adapter_model.safetensors");
  const file = openSafetensors(path);
  const tensors = new Map<string, TensorData>(
    [...file.tensors].map(([key, { dtype, shape }]) => [
      key.replace("lm_head.", "lm_head.0."),
      { dtype, shape, bytes: file.read(key).slice() },
    ]),
  );
  file.close();
  expect(tensors.has("base_model.model.lm_head.0.adapter_up.weight")).toBe(true);
  writeSafetensors(path, tensors);
  expect(loadAdapter(to, base).values).toEqual(adapter.values);
});

test("a file's targets match without a dot before them, as in the fork; a new config's do not", async () => {
  const to = join(folder, "loose");
  await saveAdapter(to, await createAdapter(paper({ use_adapterp: true }), base, 1), base);
  const path = join(to, "adapter_config.json");
  writeFileSync(path, readFileSync(path, "utf8").replace('"down_proj"', '"wn_proj"'));
  expect(loadAdapter(to, base).bound.parameters.length).toBe(4);
  expect(() => bindAdapter(paper({ target_modules: ["wn_proj"] }), base, "new")).toThrow(UnknownName);
});

test("dropout works in training alone, on the input of the paper's bottlenecks and on the result of AdapterHub's", async () => {
  for (const config of [paper({ adapter_dropout: 0.5 }), block("HOULSBY", { dropout: 0.5 })]) {
    const adapter = await createAdapter(config, base, 3);
    disturb(adapter);
    const weights = new AdapterWeights(device, adapter.bound, adapter.values, "dropout");
    const step = new TrainStep(model, weights, { optimizer: adamwDefaults, maxGradNorm: 0 });
    const micro = (n: number) => step.micro(batch, { lossScale: 1 / supervised, isFirst: true, seed: 5, step: n });
    const [one, two, again] = [await micro(1), await micro(2), await micro(1)];
    expect(one).not.toBe(two);
    expect(again).toBe(one);
    const { graph, loss } = traceSequences(traceModelOf(model), batch, { adapter: adapter.bound });
    expect(graph.nodes.some((node) => node.op.name === "dropout")).toBe(false);
    expect(loss.shape).toEqual([1]);
    step.destroy();
    weights.destroy();
  }
});

const parts: Record<
  string,
  { readonly inner: readonly string[]; readonly outer: string; readonly qkv: readonly string[] }
> = {
  llama: { inner: ["gate_proj", "up_proj"], outer: "down_proj", qkv: ["q_proj", "k_proj", "v_proj"] },
  mistral: { inner: ["gate_proj", "up_proj"], outer: "down_proj", qkv: ["q_proj", "k_proj", "v_proj"] },
  bloom: { inner: ["dense_h_to_4h"], outer: "dense_4h_to_h", qkv: ["query_key_value"] },
  gptj: { inner: ["fc_in"], outer: "fc_out", qkv: ["q_proj", "k_proj", "v_proj"] },
  opt: { inner: ["fc1"], outer: "fc2", qkv: ["q_proj", "k_proj", "v_proj"] },
  gpt2: { inner: ["c_fc"], outer: "c_proj", qkv: ["c_attn"] },
  gpt_neo: { inner: ["c_fc"], outer: "c_proj", qkv: ["q_proj", "k_proj", "v_proj"] },
  gpt_neox: { inner: ["dense_h_to_4h"], outer: "dense_4h_to_h", qkv: ["query_key_value"] },
  chatglm: { inner: ["dense_h_to_4h"], outer: "dense_4h_to_h", qkv: ["query_key_value"] },
};
test.each(Object.values(models).map((definition) => [definition.modelType, definition] as const))(
  "%s: each method has its default places",
  (modelType, definition) => {
    const { inner, outer, qkv } = parts[modelType]!;
    const config = definition.parseConfig({ model_type: modelType, ...definition.tiny[0]! }, modelType);
    const own: Base = { ...base, modelType, sites: sitesOf({ definition, config }) };
    /** Last words of the paths that get an adapter in one layer. */
    const places = (of: AdapterConfig) => {
      const paths = bindAdapter(of, own, modelType).parameters.flatMap(
        ({ key }) => /^base_model\.model\.(.*)\.adapter_up\.weight$/.exec(key)?.[1] ?? [],
      );
      expect(paths.length % config.layers).toBe(0);
      return paths.slice(0, paths.length / config.layers).map((path) => path.split(".").at(-1)!);
    };
    const sorted = (names: readonly string[]) => names.toSorted();
    expect(sorted(places(paper({})))).toEqual(sorted([...inner, outer]));
    expect(places(paper({ use_adapterp: true }))).toEqual([outer]);
    expect(sorted(places(paper({ use_parallel_adapter: true })))).toEqual(sorted(qkv));
    expect(places(block("HOULSBY")).length).toBe(2);
    expect(places(block("PFEIFFER"))).toEqual(["mlp"]);
    expect(places(block("HE_PARALLEL"))).toEqual(["mlp"]);
  },
);

test("mistakes in a config are named, with what can be", async () => {
  const fails = async (
    config: AdapterConfig,
    type: typeof ConfigError | typeof UnknownName,
    message: string | RegExp,
  ) => {
    const failure: unknown = await createAdapter(config, base, 1).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(type);
    expect(String(failure)).toMatch(message);
  };
  await fails(paper({ bottleneck_size: 0 }), ConfigError, "bottleneck_size must be at least 1");
  await fails(block("HOULSBY", { bottleneck_size: 0 }), ConfigError, "bottleneck_size must be at least 1");
  await fails(
    block("HOULSBY", { reduction_factor: 0 }),
    ConfigError,
    "reduction_factor: Too small: expected number to be >0",
  );
  await fails(
    block("HOULSBY", { reduction_factor: "4" }),
    ConfigError,
    "must be a number above 0, or such numbers by layer",
  );
  await fails(block("COMPACTER", { phm_rank: 0 }), ConfigError, "phm_rank must be at least 1");
  await fails(
    block("COMPACTER", { reduction_factor: 16 }),
    ConfigError,
    /phm_dim 4 must divide 2, a size of .*adapter_down/,
  );
  const unknown =
    /non_linearity: unknown activation "tahn"; did you mean tanh\? Available: silu, swish, relu, tanh, gelu,/;
  await fails(paper({ non_linearity: "tahn" }), UnknownName, unknown);
  await fails(block("PFEIFFER", { non_linearity: "tahn" }), UnknownName, unknown);
  await fails(paper({ scaling: "lerned" }), ConfigError, 'scaling: must be a number or "learned"');
  await fails(paper({ init_weights: "xavier" }), ConfigError, "init_weights");
  await fails(
    paper({ target_modules: ["down_prj"] }),
    UnknownName,
    /"down_prj" is no module .* did you mean down_proj/,
  );
  await fails(
    paper({ target_modules: ["q_proj"] }),
    ConfigError,
    /series has no place at model\.layers\.0\.self_attn\.q_proj; on llama it has one at gate_proj, up_proj, down_proj/,
  );
  await fails(
    paper({ target_modules: ["embed_tokens"] }),
    ConfigError,
    "series on the embedding model.embed_tokens is not supported",
  );
  await fails(paper({ target_modules: ["mlp"] }), UnknownName, '"mlp" is no module');
  await fails(paper({ modules_to_save: ["nrm"] }), ConfigError, "modules_to_save");
  await fails(block("HOULSBY", { mh_adapter: false, output_adapter: false }), ConfigError, "leave no block");
  await fails(block("HOULSBY", { leave_out: [2] }), ConfigError, "leave_out names layer 2; this model has 2 layers");
  await fails(block("HOULSBY", { reduction_factor: { "0": 4 } }), ConfigError, 'no value for layer 1 and no "default"');
  await fails(block("HOULSBY", { use_gating: true }), ConfigError, "use_gating true is not supported by houlsby");
  await fails(block("HOULSBY", { is_parallel: true }), ConfigError, "is_parallel true is not supported");
  await fails(
    block("HE_PARALLEL", { original_ln_before: true }),
    ConfigError,
    "original_ln_before is for adapters after a block",
  );
  await fails(block("PFEIFFER", { residual_before_ln: false }), ConfigError, "residual_before_ln must be true");
  await fails(
    block("COMPACTER", { shared_W_phm: true, reduction_factor: { default: 4 } }),
    ConfigError,
    "one reduction_factor",
  );
  await fails(block("HOULSBEE"), UnknownName, 'unknown peft_type "HOULSBEE"; did you mean HOULSBY');
  const elsewhere: Base = { ...base, modelType: "mystery", sites: base.sites.filter((site) => site.kind !== "branch") };
  expect(() => bindAdapter(paper({}), elsewhere, "new")).toThrow(
    /mystery has no default for series; defaults are there for llama/,
  );
  expect(() => bindAdapter(block("HOULSBY"), elsewhere, "new")).toThrow("mystery names no blocks");
});
