/** Quantised bases: on the device against float64 of what their codes stand for, in folders against loading, and what is refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { dequantize, type Device, type DeviceBuffer, openDevice, quantize, weightBytes } from "@graft/kernels";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Generator } from "../src/generate/index.ts";
import { Arena, bytesOf, grad, Graph, interpret, plan, Program, sizeOf } from "../src/graph/index.ts";
import { openSafetensors, type TensorData, writeSafetensors } from "../src/io/index.ts";
import {
  type BaseModel,
  loadBaseModel,
  quantizationMethods,
  quantizeFolder,
  readWeight,
  traceModelOf,
  traceSequences,
  writeWeight,
} from "../src/models/index.ts";
import { quantizedTypes } from "../src/models/quantization.ts";
import { type Adapter, adapterParameterName } from "../src/nn/index.ts";
import { add, matmul } from "../src/ops/index.ts";
import { Random } from "../src/random/index.ts";
import { expectClose } from "../../kernels/test/close.ts";
import { writeTinyModel } from "./tiny-model.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

const scratch = mkdtempSync(join(tmpdir(), "quantised-"));
// Widths of 64 and 96: rows that are whole blocks, and blocks that go over the end of a row.
const config = { hidden_size: 64, intermediate_size: 96, num_attention_heads: 4 };
const folder = writeTinyModel(join(scratch, "tiny"), { config, dtype: "F16" });
const by = (method: "int8" | "nf4", skipModules: readonly string[] = []) => ({ method, skipModules });
const proj = "model.layers.0.self_attn.q_proj";

/** y + x B A on one layer: enough for a gradient to go through every layer after it. */
const lowRank: Adapter = {
  method: "test",
  parameters: [
    { key: "a", shape: [64, 2], trainable: true },
    { key: "b", shape: [2, 64], trainable: true },
  ],
  hooks: ({ parameter }) => ({
    linear: (site, x, f) => (site.name === proj ? add(f(x), matmul(matmul(x, parameter("a")), parameter("b"))) : f(x)),
  }),
};

describe.each(quantizationMethods)("%s", (method) => {
  test("loss and gradients are those of float64 on the dequantised weights", async () => {
    const model = loadBaseModel(device, folder, { quantization: by(method) });
    const { graph, loss } = traceSequences(traceModelOf(model), { batch: 2, length: 6 }, { adapter: lowRank });
    const parameters = lowRank.parameters.map(({ key, shape }) => graph.param(adapterParameterName("0", key), shape));
    const wanted = [loss, ...grad(loss, parameters)];
    const random = new Random(5);
    const ids = Int32Array.from({ length: 12 }, () => 3 + random.int(90));
    const inputs = {
      ids,
      labels: ids,
      positions: ids.map((_, i) => i % 6),
      segments: new Int32Array(12).fill(1),
      lossScale: Float32Array.of(1 / 12),
    };
    const host: Record<string, Float64Array> = {};
    const buffers: Record<string, DeviceBuffer> = {};
    for (const t of parameters) {
      const { name } = graph.originOf(t) as { name: string };
      host[name] = Float64Array.from({ length: sizeOf(t.shape) }, () => Math.fround(0.3 * random.normal()));
      buffers[name] = device.createBuffer(bytesOf(t), name);
      device.write(buffers[name], Float32Array.from(host[name]));
    }
    for (const [name, { buffer }] of model.weights) {
      host[`base/${name}`] = Float64Array.from(await readWeight(model, name));
      buffers[`base/${name}`] = buffer;
    }
    const made = plan(graph, wanted, device.capabilities);
    const program = await Program.bind(device, new Arena(device), made, (name) => buffers[name]!, method);
    const got = await program.run(inputs);
    const want = interpret(graph, wanted, { inputs, params: host });
    for (const [i, values] of want.entries())
      expectClose(got[i]!, values, { atol: 2e-5, rtol: 1e-3 }, i === 0 ? "loss" : lowRank.parameters[i - 1]!.key);
    expect(want[1]!.some((g) => Math.abs(g) > 1e-3)).toBe(true);
    program.destroy();
    for (const t of parameters) buffers[(graph.originOf(t) as { name: string }).name]!.destroy();
    model.destroy();
  });

  test("a weight is what its codes say, and nothing but linear layers is quantised", async () => {
    const [plain, model] = [loadBaseModel(device, folder), loadBaseModel(device, folder, { quantization: by(method) })];
    for (const [name, { dtype, shape, buffer }] of model.weights) {
      const isLinear = /_proj/.test(name);
      expect(dtype).toBe(isLinear ? method : plain.weights.get(name)!.dtype);
      const [before, after] = [await readWeight(plain, name), await readWeight(model, name)];
      if (!isLinear) expect(after).toEqual(before);
      else {
        expect(after).toEqual(dequantize(method, shape, quantize(method, shape, before)));
        const bits = { int8: 8, nf4: 4 }[method];
        expect(buffer.size).toBeLessThan((sizeOf(shape) * bits) / 8 + 300 + weightBytes(method, shape).scales);
      }
    }
    plain.destroy();
    model.destroy();
  });

  test("a folder that was quantised once is bit for bit what quantising at load gives", async () => {
    const to = join(scratch, `${method}-folder`);
    await quantizeFolder({ model: folder, outputDir: to, quantization: by(method, ["o_proj"]) });
    expect(readdirSync(to).toSorted()).toEqual(["config.json", "model.safetensors"]);
    const live = device.liveBuffers;
    const models = [
      loadBaseModel(device, folder, { quantization: by(method, ["o_proj"]) }),
      loadBaseModel(device, to),
      loadBaseModel(device, to, { quantization: by(method) }),
    ];
    for (const [name, own] of models[0]!.weights) {
      expect(own.dtype).toBe(/o_proj|embed|norm|head/.test(name) ? own.dtype : method);
      for (const other of models.slice(1)) {
        const twin = other.weights.get(name)!;
        expect({ dtype: twin.dtype, shape: twin.shape }).toEqual({ dtype: own.dtype, shape: own.shape });
        const [a, b] = [await device.read(own.buffer), await device.read(twin.buffer)];
        expect(Buffer.compare(new Uint8Array(a), new Uint8Array(b))).toBe(0);
      }
    }
    for (const model of models) model.destroy();
    expect(device.liveBuffers).toBe(live);
  });

  test("cached decoding equals the full pass", async () => {
    const model = loadBaseModel(device, folder, { quantization: by(method) });
    const generator = new Generator(model);
    const ids = [1, 7, 30, 95, 2, 64, 11];
    const [scored] = await generator.score([ids], undefined);
    const { logprobs } = scored!;
    for (let i = 1; i < ids.length; i++) {
      const logits = await generator.nextLogits(ids.slice(0, i), undefined);
      const top = Math.max(...logits);
      const sum = logits.reduce((total, x) => total + Math.exp(x - top), 0);
      expect(Math.abs(logits[ids[i]!]! - top - Math.log(sum) - logprobs[i - 1]!)).toBeLessThan(1e-4);
    }
    await generator.destroy();
    model.destroy();
  });

  test("a quantised weight keeps its values", async () => {
    const model = loadBaseModel(device, folder, { quantization: by(method) });
    const values = await readWeight(model, `${proj}.weight`);
    expect(() => writeWeight(model, `${proj}.weight`, values)).toThrow(
      `${folder}: ${proj}.weight: is quantised (${method}) and keeps its values; change the model it was made from`,
    );
    model.destroy();
  });
});

test.each(["int8", "int8_columns", "nf4"] as const)(
  "%s: a weight over the binding limit is split by rows, forward and backward",
  async (dtype) => {
    const small = await openDevice({ limits: { maxStorageBufferBindingSize: 1024 } });
    try {
      const [rows, inner, outer] = dtype === "nf4" ? [2, 96, 80] : [2, 36, 60]; // 3840 and 2160 bytes of codes
      const graph = new Graph();
      const x = graph.param("x", [rows, inner]);
      const w = graph.param("w", [outer, inner], dtype);
      const y = matmul(x, w, { transB: true });
      const back = matmul(y, w);
      const random = new Random(3);
      const values = Float32Array.from({ length: outer * inner }, () => random.normal());
      const stored = quantize(dtype, [outer, inner], values);
      const host = {
        x: Float64Array.from({ length: rows * inner }, () => Math.fround(random.normal())),
        w: Float64Array.from(dequantize(dtype, [outer, inner], stored)),
      };
      const buffers = { x: small.createBuffer(rows * inner * 4, "x"), w: small.createBuffer(stored.length, "w") };
      small.write(buffers.x, Float32Array.from(host.x));
      small.write(buffers.w, stored);
      const made = plan(graph, [y, back], small.capabilities);
      expect(made.calls.length).toBeGreaterThan(4);
      const program = await Program.bind(small, new Arena(small), made, (name) => buffers[name as "x" | "w"], "split");
      const got = await program.run({});
      const want = interpret(graph, [y, back], { params: host });
      for (const [i, expected] of want.entries())
        expectClose(got[i]!, expected, { atol: 1e-3, rtol: 1e-4 }, `output ${i}`);
      program.destroy();
    } finally {
      await small.close();
    }
  },
);

describe("which weights", () => {
  const parsed = (more: object) => {
    const model = loadBaseModel(device, writeTinyModel(join(scratch, "which"), { config: { ...config, ...more } }));
    model.destroy();
    return model;
  };
  const names = (model: BaseModel, skip: readonly string[] = []) => [
    ...quantizedTypes(model, by("int8", skip), "test").keys(),
  ];

  test("a tied output layer and the embedding stay", () => {
    const model = parsed({ tie_word_embeddings: true });
    expect(names(model)).toHaveLength(14);
    expect(names(model).every((name) => name.includes("_proj"))).toBe(true);
  });

  test("modules to skip are paths, their ends or their beginnings; what is no linear layer is named", () => {
    const model = parsed({});
    expect(names(model, ["o_proj"])).toHaveLength(12);
    expect(names(model, ["model.layers.1"])).toHaveLength(7);
    expect(names(model, [proj])).toHaveLength(13);
    expect(() => names(model, ["o_porj"])).toThrow(
      'test: module to skip "o_porj" is no linear layer of this model; did you mean o_proj',
    );
  });

  test("a weight stored [in, out] has a scale for each output feature too", () => {
    const { definition, config: sizes } = parsed({});
    const stored = {
      ...definition,
      hidden: (m, c, ids) =>
        m.linear("model.layers.0.self_attn.q_proj", definition.hidden(m, c, ids), { fanInFanOut: true }),
    } satisfies typeof definition;
    const types = quantizedTypes({ definition: stored, config: sizes }, by("int8"), "test");
    expect(types.get(`${proj}.weight`)).toBe("int8_columns");
    expect(quantizedTypes({ definition: stored, config: sizes }, by("nf4"), "test").get(`${proj}.weight`)).toBe("nf4");
  });
});

describe("what is refused", () => {
  const rewrite = (name: string, change: (tensors: Map<string, TensorData>) => void, from = folder): string => {
    const to = writeTinyModel(join(scratch, name), { config });
    writeFileSync(join(to, "config.json"), readFileSync(join(from, "config.json")));
    const file = openSafetensors(join(from, "model.safetensors"));
    const tensors = new Map(
      [...file.tensors].map(([key, { dtype, shape }]) => [key, { dtype, shape, bytes: file.read(key) }]),
    );
    file.close();
    change(tensors);
    writeSafetensors(join(to, "model.safetensors"), tensors);
    return to;
  };
  const withConfig = (name: string, quantization_config: unknown): string => {
    const to = writeTinyModel(join(scratch, name), { config: { ...config, quantization_config } });
    return to;
  };
  const load = (from: string, quantization?: Parameters<typeof loadBaseModel>[2]) => () =>
    loadBaseModel(device, from, quantization);

  test.each([
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
  ])("a weight that is %p, and nothing stays on the device", async (bad, said) => {
    const to = rewrite("bad", (tensors) => {
      const { shape } = tensors.get(`${proj}.weight`)!;
      const values = new Float32Array(sizeOf(shape)).fill(0.5).fill(bad, 9, 10);
      tensors.set(`${proj}.weight`, { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) });
    });
    const live = device.liveBuffers;
    const says = `${to}: tensor ${proj}.weight: value 9 is ${said}, which has no place in a quantised weight`;
    for (const method of quantizationMethods) {
      expect(load(to, { quantization: by(method) })).toThrow(says);
      const outputDir = join(scratch, `bad-${method}`);
      await expect(quantizeFolder({ model: to, outputDir, quantization: by(method) })).rejects.toThrow(says);
      expect(readdirSync(scratch).filter((name) => name.includes(`bad-${method}`))).toEqual([]);
    }
    expect(device.liveBuffers).toBe(live);
  });

  test("scales that are cut short, missing, of another kind or no numbers", async () => {
    const made = { int8: join(scratch, "r-int8"), nf4: join(scratch, "r-nf4") };
    for (const method of quantizationMethods)
      await quantizeFolder({ model: folder, outputDir: made[method], quantization: by(method) });
    const at = (part: string, change: (tensor: TensorData) => TensorData | undefined, method: "int8" | "nf4") =>
      rewrite(
        "scales",
        (tensors) => {
          const changed = change(tensors.get(`${proj}.weight${part}`)!);
          if (changed) tensors.set(`${proj}.weight${part}`, changed);
          else tensors.delete(`${proj}.weight${part}`);
        },
        made[method],
      );
    const short = (t: TensorData) => ({
      ...t,
      shape: [t.shape[0]! - 1],
      bytes: t.bytes.slice(t.bytes.length / t.shape[0]!),
    });
    expect(load(at(".scale", short, "int8"))).toThrow(
      `${proj}.weight.scale is F32 [63], int8 of a [64,64] weight has F32 [64]`,
    );
    expect(load(at(".absmax", short, "nf4"))).toThrow(
      `${proj}.weight.absmax is F8_E4M3 [63], nf4 of a [64,64] weight has F8_E4M3 [64]`,
    );
    expect(load(at(".absmax_offset", () => undefined, "nf4"))).toThrow(`no tensor ${proj}.weight.absmax_offset`);
    const nan = (t: TensorData) => ({ ...t, bytes: t.bytes.map(() => 0x7f) });
    expect(load(at(".absmax", nan, "nf4"))).toThrow(`${proj}.weight.absmax: value 0 is NaN`);
    const infinite = (t: TensorData) => ({
      ...t,
      bytes: new Uint8Array(new Float32Array(t.shape[0]!).fill(1 / 0).buffer),
    });
    expect(load(at(".scale", infinite, "int8"))).toThrow(`${proj}.weight.scale: value 0 is Infinity`);
    // Codes of the other kind under this config.
    const other = rewrite("other", () => undefined, made.int8);
    writeFileSync(join(other, "config.json"), readFileSync(join(made.nf4, "config.json")));
    expect(load(other)).toThrow("tensors do not belong to a llama of this config.json");
  });

  test("formats that are not ours, and sizes that are not", () => {
    const ours = { quant_method: "graft", format: "nf4", group_size: 64, double_quant_group_size: 256 };
    const cases: [unknown, string][] = [
      [
        { quant_method: "bitsandbytes", load_in_4bit: true },
        'stored in the format of "bitsandbytes", which is not read; take the model they were made from, and --quantization int8 or nf4',
      ],
      [{ quant_method: "gptq", bits: 4 }, 'stored in the format of "gptq"'],
      [{ bits: 4 }, "stored in the format of another program"],
      [{ ...ours, format: "nf5" }, 'unknown quantization "nf5"; did you mean nf4? Available: int8, nf4'],
      [{ ...ours, group_size: 32 }, "group_size is 32, nf4 has 64"],
      [{ ...ours, double_quant_group_size: undefined }, "double_quant_group_size is not given, nf4 has 256"],
      [{ ...ours, modules_to_not_convert: "lm_head" }, "modules_to_not_convert"],
      ["nf4", "quantization_config"],
    ];
    for (const [i, [json, says]] of cases.entries()) {
      const to = withConfig(`config-${i}`, json);
      expect(load(to)).toThrow(`${join(to, "config.json")}: quantization_config`);
      expect(load(to)).toThrow(says);
    }
  });

  test("to quantise twice, and to ask a quantised folder for what it is not", async () => {
    const to = join(scratch, "twice");
    await quantizeFolder({ model: folder, outputDir: to, quantization: by("int8") });
    const again = { model: to, outputDir: join(scratch, "twice-more"), quantization: by("nf4") };
    await expect(quantizeFolder(again)).rejects.toThrow(`${to}: is int8 already; quantise the model it was made from`);
    await expect(quantizeFolder({ ...again, model: folder, outputDir: to })).rejects.toThrow("is not empty");
    expect(load(to, { quantization: by("nf4") })).toThrow(
      "its weights are int8 in the files, --quantization nf4 needs the model",
    );
    expect(load(to, { quantization: "none" })).toThrow(
      "its weights are int8 in the files, --quantization none needs the model",
    );
  });
});
