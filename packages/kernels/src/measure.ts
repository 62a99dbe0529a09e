/** What a device can do at best: the ceilings that kernels are measured against. */
import type { Device } from "./device.ts";
import { defineKernel, encode, prepare, uploadDims } from "./kernel.ts";

const CHAINS = 16;
const STEPS = 512;

/** Register-only fused multiply-adds: CHAINS independent chains per thread. */
export const fmaKernel = defineKernel<Record<never, never>, "count", "y">({
  name: "measure_fma",
  dims: { count: "u32" },
  bindings: () => ({ y: { type: "f32", access: "read_write" } }),
  wgsl: () => `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = 0.5 + f32(id.x) * 1e-9;
  ${Array.from({ length: CHAINS }, (_, i) => `var a${i} = f32(${i}) * 0.01;`).join(" ")}
  for (var i = 0u; i < ${STEPS}u; i++) { ${Array.from({ length: CHAINS }, (_, i) => `a${i} = fma(a${i}, x, 0.25);`).join(" ")} }
  if (id.x < dims.count) { y[id.x] = ${Array.from({ length: CHAINS }, (_, i) => `a${i}`).join(" + ")}; }
}`,
  grid: ({ count }) => Math.ceil(count / 64),
  sizes: ({ count }) => ({ y: count }),
  reference({ y }, { count }) {
    for (let n = 0; n < count; n++) {
      const x = 0.5 + n * 1e-9;
      let sum = 0;
      for (let c = 0; c < CHAINS; c++) {
        let a = c * 0.01;
        for (let i = 0; i < STEPS; i++) a = a * x + 0.25;
        sum += a;
      }
      y[n] = sum;
    }
  },
  cost: ({ count }) => ({ flops: 2 * CHAINS * STEPS * count, bytes: 4 * count }),
  cases: [{ name: "130", statics: {}, dims: { count: 130 }, tolerance: { atol: 1e-4, rtol: 1e-4 } }],
});

export interface Ceilings {
  /** f32 multiply-adds from registers, GFLOP/s (a multiply-add is two). */
  readonly fmaGflops: number;
  /** copyBufferToBuffer, bytes read plus bytes written, GiB/s. */
  readonly copyGibps: number;
  /** One more dispatch in a pass, microseconds. */
  readonly dispatchMicroseconds: number;
}

/** Best of `rounds` for each. Takes about a second on a slow device. */
export async function measureCeilings(device: Device, rounds = 5): Promise<Ceilings> {
  const threads = device.capabilities.isSoftware ? 1 << 13 : 1 << 20;
  const fmaSeconds = await bestDispatch(device, threads, 1, rounds);
  const one = await bestDispatch(device, 64, 1, rounds);
  const many = await bestDispatch(device, 64, 257, rounds);
  const bytes = 64 * 2 ** 20;
  const [a, b] = [device.createBuffer(bytes, "copy from"), device.createBuffer(bytes, "copy to")];
  const copySeconds = await best(
    rounds,
    () =>
      device.scope("copy", () => {
        const encoder = device.gpu.createCommandEncoder();
        encoder.copyBufferToBuffer(a.gpu, 0, b.gpu, 0, bytes);
        device.gpu.queue.submit([encoder.finish()]);
      }),
    device,
  );
  a.destroy();
  b.destroy();
  return {
    fmaGflops: (2 * CHAINS * STEPS * threads) / fmaSeconds / 1e9,
    copyGibps: (2 * bytes) / copySeconds / 2 ** 30,
    dispatchMicroseconds: Math.max(0, ((many - one) / 256) * 1e6),
  };
}

async function bestDispatch(device: Device, threads: number, repeats: number, rounds: number): Promise<number> {
  const buffer = device.createBuffer(threads * 4, "measure");
  const call = { kernel: fmaKernel, statics: {}, dims: { count: threads } };
  const dims = uploadDims(device, [{ ...call, buffers: {} }], "measure");
  try {
    const window = { buffer, offset: 0, size: buffer.size };
    const dispatch = await prepare(device, { ...call, buffers: { y: window } }, dims.window(0));
    return await best(
      rounds,
      () =>
        device.scope("measure", () => {
          const encoder = device.gpu.createCommandEncoder();
          const pass = encoder.beginComputePass();
          encode(
            pass,
            Array.from({ length: repeats }, () => dispatch),
          );
          pass.end();
          device.gpu.queue.submit([encoder.finish()]);
        }),
      device,
    );
  } finally {
    buffer.destroy();
    dims.destroy();
  }
}

/** Seconds of the fastest round, after one that does not count (drivers compile at the first dispatch). */
async function best(rounds: number, submit: () => Promise<unknown>, device: Device): Promise<number> {
  let seconds = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= rounds; i++) {
    const start = performance.now();
    await submit();
    await device.idle();
    if (i > 0) seconds = Math.min(seconds, (performance.now() - start) / 1000);
  }
  return seconds;
}
