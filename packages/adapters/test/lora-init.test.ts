import { ConfigError, UnknownName } from "@graft/core/errors";
import { createBatches, type Example } from "@graft/core/data";
import { openSafetensors, readJson } from "@graft/core/io";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights, type LinearSite } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { adamwDefaults, toMicro, TrainStep } from "@graft/core/train";
import { type Device, openDevice } from "@graft/kernels";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { writeTinyModel } from "../../core/test/tiny-model.ts";
import {
  type AdapterConfig,
  type Base,
  baseOf,
  bindAdapter,
  createAdapter,
  finishAdapter,
  loadAdapter,
  type LoadedAdapter,
  saveAdapter,
  writeAdapterFiles,
} from "../src/index.ts";
import golden from "./fixtures/lora-init.json" with { type: "json" };

let device: Device;
let model: BaseModel;
const folder = mkdtempSync(join(tmpdir(), "lora-init-"));
beforeAll(async () => {
  device = await openDevice();
  model = loadBaseModel(device, writeTinyModel(join(folder, "base")));
});
afterAll(async () => {
  model.destroy();
  await device.close();
});

const config = (init: string, changes: object = {}): AdapterConfig => ({
  peft_type: "LORA",
  r: 4,
  lora_alpha: 8,
  target_modules: ["q_proj", "v_proj"],
  init_lora_weights: init,
  ...changes,
});
const key = (layer: number, name: string) => `base_model.model.model.layers.${layer}.self_attn.${name}.weight`;

/** A base of one linear layer with the fixture's weight, stored [out, in] or [in, out]. */
function sineBase(rows: number, columns: number, fanInFanOut = false): Base {
  const site: LinearSite = {
    kind: "linear",
    name: "layer",
    weight: "layer.weight",
    inDim: columns,
    outDim: rows,
    fanInFanOut,
    hasBias: false,
    isHead: false,
    layer: undefined,
  };
  const shape = fanInFanOut ? [columns, rows] : [rows, columns];
  const weight = Float32Array.from({ length: rows * columns }, (_, at) => {
    const [first, second] = [Math.floor(at / shape[1]!), at % shape[1]!];
    const [row, column] = fanInFanOut ? [second, first] : [first, second];
    return Math.sin(0.7 * (row + 1) * (column + 2));
  });
  return {
    sites: [site],
    modelType: "sine",
    sizes: { vocabSize: 1, hiddenSize: columns, layers: 1, heads: 1, kvHeads: 1, headDim: columns, maxLength: 1 },
    parameters: ["layer.weight"],
    shapeOf: (name) => (name === "layer.weight" ? shape : undefined),
    read: async () => weight,
  };
}

/** s B A: [out, in]. */
function product(values: ReadonlyMap<string, Float32Array>, r: number, scaling: number): number[] {
  const [a, b] = [
    values.get("base_model.model.layer.lora_A.weight")!,
    values.get("base_model.model.layer.lora_B.weight")!,
  ];
  const columns = a.length / r;
  return Array.from({ length: (b.length / r) * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < r; k++) sum += b[row * r + k]! * a[k * columns + column]!;
    return scaling * sum;
  });
}

describe.each(golden.cases)("$rows x $columns", (kase) => {
  const layer = { target_modules: ["layer"], r: golden.r, lora_alpha: golden.lora_alpha };
  const scaling = golden.lora_alpha / golden.r;
  test.each([
    ["pissa", kase.pissa],
    ["pissa_niter_16", kase.pissa],
    ["olora", kase.olora],
  ])("%s begins with PEFT's product of factors, however the weight is stored", async (init, want) => {
    for (const fanInFanOut of [false, true]) {
      const base = sineBase(kase.rows, kase.columns, fanInFanOut);
      const { values } = await createAdapter(config(init, layer), base, 5);
      const got = product(values, golden.r, scaling);
      // PEFT factors in f32: its OLoRA is 6e-6 from the exact one on the second matrix.
      for (const [i, x] of got.entries()) expect(Math.abs(x - want[i]!)).toBeLessThan(1e-5);
    }
  });

  test("orthogonal factors are not zero, their product is, and their size is PEFT's", async () => {
    const base = sineBase(400, 300);
    const { values } = await createAdapter(config("orthogonal", { ...layer, r: 8 }), base, 5);
    for (const x of product(values, 8, 1)) expect(Math.abs(x)).toBeLessThan(1e-7);
    // Entries are sums of r / 2 normals times entries of a unit vector's half, over 10: variance 1 / 200.
    for (const factor of values.values()) {
      const variance = factor.reduce((sum, x) => sum + x * x, 0) / factor.length;
      expect(Math.abs(variance - 0.005)).toBeLessThan(0.0007);
    }
  });
});

const examples: Example[] = Array.from({ length: 4 }, (_, n) => {
  const random = new Random(n);
  const ids = Int32Array.from({ length: 8 }, () => 3 + random.int(90));
  return { ids, labels: ids.slice() };
});
const batch = toMicro(createBatches(examples, { batchSize: 4, seed: 1 }).at({ epoch: 0, index: 0 }));

/** Losses and final values of three optimizer steps. */
async function trainThree(target: BaseModel, adapter: LoadedAdapter) {
  const weights = new AdapterWeights(device, adapter.bound, adapter.values, "test");
  const step = new TrainStep(target, weights, { optimizer: adamwDefaults, maxGradNorm: 1 });
  try {
    const losses: number[] = [];
    const gradients = new Set<string>();
    for (let i = 1; i <= 3; i++) {
      losses.push(await step.micro(batch, { lossScale: 1 / 32, isFirst: true, seed: 9, step: i }));
      for (const [name, values] of await step.gradients()) if (values.some((x) => x !== 0)) gradients.add(name);
      await step.update(1e-2, i);
    }
    return { losses, gradients, values: await weights.read() };
  } finally {
    step.destroy();
    weights.destroy();
  }
}

describe.each([
  ["pissa", {}],
  ["olora", { use_dora: true }],
  ["pissa_niter_1", { lora_dropout: 0.5 }],
  ["pissa", { lora_dropout: 0.5, use_dora: true, use_rslora: true }],
])("%s with %j", (init, changes) => {
  test("trains as a plain LoRA on a base from which its start was taken: A and B alone move", async () => {
    const base = baseOf(model);
    const adapter = await createAdapter(config(init, changes), base, 3);
    const isStart = (name: string) => /lora_[AB]0/.test(name);
    const own = await trainThree(model, adapter);
    const trained = [...adapter.values.keys()].filter((name) => !isStart(name));
    expect([...own.gradients].toSorted()).toEqual(trained.toSorted());
    for (const [name, before] of adapter.values) {
      if (isStart(name)) expect(own.values.get(name)).toEqual(before);
      else expect(own.values.get(name)).not.toEqual(before);
    }

    // PEFT's way: W becomes W - s B0 A0.
    const withoutStart = new Map([...adapter.values].map(([name, x]) => [name, isStart(name) ? x : x.map(() => 0)]));
    const { merge } = bindAdapter(config(init, { ...changes, use_dora: false }), base, "test");
    if (typeof merge !== "function") throw new Error("LoRA merges");
    const rest = loadBaseModel(device, join(folder, "base"));
    try {
      for (const [name, compute] of merge(withoutStart)) device.write(rest.weights.get(name)!.buffer, await compute());
      const plain = { ...config("true", changes), init_lora_weights: true };
      const bound = bindAdapter(plain, base, "test");
      const values = new Map(bound.parameters.map((p) => [p.key, adapter.values.get(p.key)!]));
      const reference = await trainThree(rest, { config: plain, bound, values });
      for (const [i, loss] of own.losses.entries()) expect(Math.abs(loss - reference.losses[i]!)).toBeLessThan(1e-4);
      for (const [name, x] of reference.values) {
        const got = own.values.get(name)!;
        // AdamW's first steps are the sign of the gradient: an entry near zero may differ by a step of 0.01.
        const differ = x.filter((value, i) => Math.abs(value - got[i]!) > 1e-3).length;
        expect(differ).toBeLessThanOrEqual(0.01 * x.length);
      }
    } finally {
      rest.destroy();
    }
  });
});

const savedConfig = z.looseObject({
  r: z.number(),
  lora_alpha: z.number(),
  rank_pattern: z.record(z.string(), z.number()),
  alpha_pattern: z.record(z.string(), z.number()),
  init_lora_weights: z.unknown(),
});

test("saved for use it is a plain LoRA of twice the rank: [A; A0] and [B, -B0], scaling kept", async () => {
  const base = baseOf(model);
  const patterns = { rank_pattern: { v_proj: 2 }, alpha_pattern: { "layers.1.self_attn.q_proj": 3 } };
  for (const use_rslora of [false, true]) {
    const adapter = await createAdapter(config("olora", { ...patterns, use_rslora, note: "kept" }), base, 3);
    const to = join(folder, `plain-${use_rslora}`);
    await saveAdapter(to, adapter, base);
    const raise = use_rslora ? Math.SQRT2 : 2;
    expect(readJson(join(to, "adapter_config.json"), savedConfig)).toMatchObject({
      r: 8,
      lora_alpha: raise * 8,
      rank_pattern: { v_proj: 4 },
      alpha_pattern: { "layers.1.self_attn.q_proj": raise * 3 },
      init_lora_weights: true,
      note: "kept",
    });
    const plain = loadAdapter(to, base);
    expect(plain.bound.parameters.every((p) => p.trainable)).toBe(true);
    const part = (name: string) => [
      adapter.values.get(key(0, `v_proj.${name}`))!,
      adapter.values.get(key(0, `v_proj.${name}0`))!,
    ];
    const [a, a0] = part("lora_A") as [Float32Array, Float32Array];
    expect(plain.values.get(key(0, "v_proj.lora_A"))).toEqual(Float32Array.of(...a, ...a0));
    const [b, b0] = part("lora_B") as [Float32Array, Float32Array];
    const rows = Array.from({ length: b.length / 2 }, (_, row) => [
      ...b.slice(2 * row, 2 * row + 2),
      ...b0.slice(2 * row, 2 * row + 2).map((x) => -x),
    ]);
    expect(plain.values.get(key(0, "v_proj.lora_B"))).toEqual(Float32Array.from(rows.flat()));
    expect(finishAdapter(plain, base)).toBe(plain);
  }
});

test("written as it is, it comes back bit for bit and still knows what it began with", async () => {
  const base = baseOf(model);
  const adapter = await createAdapter(config("pissa"), base, 3);
  const to = join(folder, "as-it-is");
  mkdirSync(to);
  await writeAdapterFiles(to, adapter, base);
  const back = loadAdapter(to, base);
  expect(back.config.init_lora_weights).toBe("pissa");
  expect(back.values).toEqual(adapter.values);
  expect(finishAdapter(back, base).values).toEqual(finishAdapter(adapter, base).values);
});

test("what cannot start so is named, with what can", async () => {
  const base = baseOf(model);
  const create = (init: string, changes: object = {}) => createAdapter(config(init, changes), base, 1);
  for (const init of ["eva", "corda", "lora_ga", "loftq", "mica"]) {
    const failure = await create(init).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConfigError);
    expect(String(failure)).toMatch(
      /init_lora_weights ".*" is not supported \(it (needs|trains) .*\); supported: true, false, gaussian, orthogonal, pissa, olora, pissa_niter_\[n\]/,
    );
  }
  const failure = await create("pisa").catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(UnknownName);
  expect(String(failure)).toContain(
    'unknown initialisation "pisa"; did you mean pissa? Available: true, false, gaussian, orthogonal, pissa, olora, pissa_niter_[n]',
  );
  await expect(create("pissa_niter_-1")).rejects.toThrow("unknown initialisation");
  await expect(create("orthogonal", { rank_pattern: { v_proj: 3 } })).rejects.toThrow("v_proj: r must be even, got 3");
  await expect(create("olora", { r: 17 })).rejects.toThrow("v_proj: r is 17, a [16, 32] weight has rank 16");
  await expect(create("pissa", { lora_alpha: 0 })).rejects.toThrow("q_proj: lora_alpha must be above 0");
  await expect(create("pissa", { target_modules: ["embed_tokens"] })).rejects.toThrow("embed_tokens: embeddings start");
});

test("files of PEFT: eva is plain LoRA, pissa without its start is refused with what to do", async () => {
  const base = baseOf(model);
  const plain = await createAdapter({ ...config("x"), init_lora_weights: true }, base, 3);
  const write = async (init: string) => {
    const to = join(folder, init);
    mkdirSync(to);
    await writeAdapterFiles(to, { ...plain, config: config(init) }, base);
    return to;
  };
  const eva = await write("eva");
  expect(loadAdapter(eva, base).values).toEqual(plain.values);
  const pissa = await write("pissa");
  expect(openSafetensors(join(pissa, "adapter_model.safetensors")).tensors.size).toBe(8);
  expect(() => loadAdapter(pissa, base)).toThrow(
    /lora_A0\.weight, which .*"pissa" with path_initial_model_for_weight_conversion/,
  );
});
