/** Every op of the registry: device equals the float64 interpreter; gradients equal central differences. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { dequantize, type Device, type DeviceBuffer, isQuantized, openDevice, quantize } from "@graft/kernels";
import {
  Arena,
  bytesOf,
  grad,
  Graph,
  interpret,
  type Op,
  type OpCase,
  plan,
  Program,
  sizeOf,
  type Spec,
  type Values,
} from "../src/graph/index.ts";
import { mul, ops, scaledSumOf } from "../src/ops/index.ts";
import { expectClose } from "../../kernels/test/close.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

for (const op of ops) {
  describe(op.name, () => {
    for (const kase of op.cases) {
      test(`${kase.name}: device equals interpreter`, () => deviceEqualsInterpreter(op, kase), 120_000);
      const wrt = kase.gradientOf ?? kase.inputs.flatMap((s, i) => (s.dtype === "f32" ? [i] : []));
      if (op.grad && wrt.length > 0)
        test(`${kase.name}: gradient equals central differences`, () => gradientEqualsDifferences(op, kase, wrt));
    }
  });
}

async function deviceEqualsInterpreter(op: Op, kase: OpCase): Promise<void> {
  const live = device.liveBuffers;
  const graph = new Graph();
  const inputs = kase.inputs.map((s, i) => graph.param(`p${i}`, s.shape, s.dtype));
  const outputs = graph.apply(op, inputs, kase.attrs);
  const host = Object.fromEntries(kase.inputs.map((s, i) => [`p${i}`, values(s, kase, i)]));
  const buffers: Record<string, DeviceBuffer> = {};
  for (const [i, s] of kase.inputs.entries()) {
    const buffer = device.createBuffer(bytesOf(s), `p${i}`);
    device.write(buffer, deviceArray(s, given(s, kase, i)));
    buffers[`p${i}`] = buffer;
  }
  const arena = new Arena(device);
  const program = await Program.bind(
    device,
    arena,
    plan(graph, outputs, device.capabilities),
    (name) => buffers[name]!,
    op.name,
  );
  const got = await program.run({});
  const want = interpret(graph, outputs, { params: host });
  const tolerance = kase.tolerance ?? { atol: 2e-5, rtol: 1e-4 };
  for (const [i, w] of want.entries()) expectClose(got[i]!, w, tolerance, `${op.name} output ${i}`);
  for (const i of op.mutates ?? []) {
    const changed = new Float32Array(await device.read(buffers[`p${i}`]!), 0, sizeOf(kase.inputs[i]!.shape));
    expectClose(changed, host[`p${i}`]!, tolerance, `${op.name} input ${i} after the run`);
  }
  program.destroy();
  for (const buffer of Object.values(buffers)) buffer.destroy();
  expect(device.liveBuffers).toBe(live);
}

/** Along a random direction d, of f = sum(w * op(x)) with fixed random w: <grad f, d> = (f(x + eps d) - f(x - eps d)) / 2 eps. */
function gradientEqualsDifferences(op: Op, kase: OpCase, wrt: readonly number[]): void {
  const graph = new Graph();
  const inputs = kase.inputs.map((s, i) => graph.param(`p${i}`, s.shape, s.dtype));
  const outputs = graph.apply(op, inputs, kase.attrs);
  const out = outputs[0]!;
  const w = graph.param("w", out.shape);
  const loss = scaledSumOf(mul(out, w), graph.param("one", [1]));
  const gradients = grad(
    loss,
    wrt.map((i) => inputs[i]!),
  );
  const base: Record<string, Values> = Object.fromEntries(kase.inputs.map((s, i) => [`p${i}`, values(s, kase, i)]));
  base.w = Float64Array.from({ length: sizeOf(out.shape) }, (_, i) => noise(i, 91));
  base.one = Float64Array.of(1);
  const analytic = interpret(graph, gradients, { params: base });
  for (const [n, i] of wrt.entries()) {
    for (const seed of [1, 2, 3]) {
      const direction = base[`p${i}`]!.map((_, at) => noise(at, seed * 1000 + i));
      const at = (eps: number) =>
        interpret(graph, [loss], {
          params: { ...base, [`p${i}`]: base[`p${i}`]!.map((x, j) => x + eps * direction[j]!) },
        })[0]![0]!;
      const numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
      const exact = analytic[n]!.reduce((sum, g, j) => sum + g * direction[j]!, 0);
      expect(Math.abs(numeric - exact)).toBeLessThanOrEqual(1e-7 + 1e-4 * Math.abs(exact));
    }
  }
}

function given(s: Spec, kase: OpCase, index: number): Float32Array {
  const fill =
    kase.fill?.[index] ?? (s.dtype === "i32" || s.dtype === "u32" ? () => 0 : (i: number) => noise(i, index + 1));
  return Float32Array.from({ length: sizeOf(s.shape) }, (_, i) => fill(i));
}

/** What an input is worth: of a quantised one, what its codes and scales stand for. */
function values(s: Spec, kase: OpCase, index: number): Values {
  const floats = given(s, kase, index);
  if (!isQuantized(s.dtype)) return Float64Array.from(floats);
  return Float64Array.from(dequantize(s.dtype, s.shape, quantize(s.dtype, s.shape, floats)));
}

function deviceArray(s: Spec, data: Float32Array) {
  if (isQuantized(s.dtype)) return quantize(s.dtype, s.shape, data);
  return s.dtype === "i32" ? Int32Array.from(data) : s.dtype === "u32" ? Uint32Array.from(data) : data;
}

/** Seeded noise in (-1, 1). */
function noise(index: number, seed: number): number {
  let h = Math.imul(index + Math.imul(seed, 0x9e3779b1), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1;
}
