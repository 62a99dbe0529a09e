/** Every kernel of the registry: compiles, equals its reference on every case, leaves the bytes after its outputs alone. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  hostArrayOf,
  openDevice,
  runOnce,
  type Device,
  type DeviceBuffer,
  type HostArray,
  type Kernel,
  type KernelCase,
} from "../src/index.ts";
import { kernels } from "../src/registry.ts";
import { expectClose } from "./close.ts";

let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => device.close());

const GUARD = 64; // elements after each buffer that no kernel may touch
const GUARD_VALUE = 0x5eed5eed;

for (const kernel of kernels) {
  describe(kernel.name, () => {
    for (const kase of kernel.cases) {
      test(kase.name, () => runCase(device, kernel, kase), 120_000);
    }
  });
}

async function runCase(gpu: Device, kernel: Kernel, kase: KernelCase): Promise<void> {
  const { statics, dims } = kase;
  const bindings = kernel.bindings(statics);
  const sizes = kernel.sizes(dims, statics);
  const liveBefore = gpu.liveBuffers;
  const host: Record<string, HostArray> = {};
  const buffers: Record<string, DeviceBuffer> = {};
  for (const [name, { type }] of Object.entries(bindings)) {
    const count = sizes[name]!;
    const array = new (hostArrayOf(type))(count);
    const fill = kase.fill?.[name] ?? (array instanceof Float32Array ? noise(name) : () => 0);
    for (let i = 0; i < count; i++) array[i] = fill(i);
    host[name] = array;
    const buffer = gpu.createBuffer((count + GUARD) * 4, `${kernel.name}.${name}`);
    gpu.write(buffer, array);
    gpu.write(buffer, new Uint32Array(GUARD).fill(GUARD_VALUE), count * 4);
    buffers[name] = buffer;
  }
  const windows = Object.fromEntries(
    Object.entries(buffers).map(([name, buffer]) => [name, { buffer, offset: 0, size: buffer.size }]),
  );
  await runOnce(gpu, [{ kernel, statics, dims, buffers: windows }], kase.name);
  kernel.reference(host, dims, statics);
  for (const [name, { type }] of Object.entries(bindings)) {
    const count = sizes[name]!;
    const bytes = await gpu.read(buffers[name]!);
    const guard = new Uint32Array(bytes, count * 4, GUARD);
    expect(guard.every((v) => v === GUARD_VALUE)).toBe(true);
    const got = new (hostArrayOf(type))(bytes, 0, count);
    expectClose(got, host[name]!, kase.tolerance ?? { atol: 1e-5, rtol: 1e-5 }, `${kernel.name}.${name}`);
  }
  for (const buffer of Object.values(buffers)) buffer.destroy();
  expect(gpu.liveBuffers).toBe(liveBefore);
}

/** Seeded noise in (-1, 1), different for each buffer name. */
function noise(name: string): (index: number) => number {
  const seed = [...name].reduce((h, c) => Math.imul(h ^ c.codePointAt(0)!, 0x01000193), 0x811c9dc5);
  return (index) => {
    let h = Math.imul(index ^ seed, 0x9e3779b1);
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return ((h ^ (h >>> 16)) >>> 0) / 2 ** 31 - 1;
  };
}
