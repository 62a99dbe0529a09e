/** What a device can do at best: the ceilings that kernels are measured against. */
import type { Device, DeviceBuffer } from "./device.ts";
import { defineKernel, type Dispatch, encode, prepare, uploadDims } from "./kernel.ts";

const STEPS = 512;
const WORKGROUP = 64;

/** Independent chains of multiply-adds in each thread, on scalars or on vectors of two or four. */
type FmaShape = { readonly chains: number; readonly width: 1 | 2 | 4 };

/** Which shape is fastest differs between drivers: software ones keep few vectors in registers, GPUs want enough chains to hide latency. */
const FMA_SHAPES: readonly FmaShape[] = [
  { chains: 8, width: 1 },
  { chains: 16, width: 1 },
  { chains: 2, width: 4 },
  { chains: 4, width: 4 },
];

/** y[i] = sum over chains and lanes of a after STEPS times a = a x + 0.25, x = 0.5 + 1e-9 i: multiply-adds from registers, nothing else. */
export const fmaKernel = defineKernel<FmaShape, "count", "y">({
  name: "measure_fma",
  dims: { count: "u32" },
  bindings: () => ({ y: { type: "f32", access: "read_write" } }),
  wgsl({ chains, width }) {
    const type = width === 1 ? "f32" : `vec${width}f`;
    const each = (line: (name: string, index: number) => string, separator: string) =>
      Array.from({ length: chains }, (_, i) => line(`a${i}`, i)).join(separator);
    return `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = ${type}(0.5 + f32(id.x) * 1e-9);
  ${each((a, i) => `var ${a} = ${type}(f32(${i}) * 0.01);`, " ")}
  for (var i = 0u; i < ${STEPS}u; i++) { ${each((a) => `${a} = fma(${a}, x, ${type}(0.25));`, " ")} }
  if (id.x < dims.count) { y[id.x] = ${each((a) => (width === 1 ? a : `dot(${a}, ${type}(1))`), " + ")}; }
}`;
  },
  grid: ({ count }) => Math.ceil(count / WORKGROUP),
  sizes: ({ count }) => ({ y: count }),
  reference({ y }, { count }, { chains, width }) {
    for (let n = 0; n < count; n++) {
      const x = 0.5 + n * 1e-9;
      let sum = 0;
      for (let c = 0; c < chains; c++) {
        let a = c * 0.01;
        for (let i = 0; i < STEPS; i++) a = a * x + 0.25;
        sum += a * width;
      }
      y[n] = sum;
    }
  },
  cost: ({ count }, { chains, width }) => ({ flops: 2 * chains * width * STEPS * count, bytes: 4 * count }),
  atScale: undefined,
  cases: FMA_SHAPES.map((statics) => ({
    name: `${statics.chains} x ${statics.width}`,
    statics,
    dims: { count: 130 },
    tolerance: { atol: 1e-4, rtol: 1e-4 },
  })),
});

export interface Ceilings {
  /** f32 multiply-adds from registers, GFLOP/s (a multiply-add is two). */
  readonly fmaGflops: number;
  /** copyBufferToBuffer, bytes read plus bytes written, GiB/s. */
  readonly copyGibps: number;
  /** One more dispatch in a pass, microseconds. */
  readonly dispatchMicroseconds: number;
}

/**
 * Best of `rounds` for each, by the device's own clock where it has timestamps. Rounds are short and many, so that one of them is likely to
 * have the machine for itself. Takes about a second on a slow device.
 */
export async function measureCeilings(device: Device, rounds = 20): Promise<Ceilings> {
  const clock = createClock(device);
  try {
    return {
      fmaGflops: await measureFma(device, clock, rounds),
      copyGibps: await measureCopy(device, clock, rounds),
      dispatchMicroseconds: await measureDispatch(device, clock, rounds),
    };
  } finally {
    clock.destroy();
  }
}

async function measureFma(device: Device, clock: Clock, rounds: number): Promise<number> {
  const count = device.capabilities.isSoftware ? 1 << 13 : 1 << 20;
  let best = 0;
  for (const statics of FMA_SHAPES) {
    const seconds = await withDispatch(device, statics, count, (dispatch) => clock.best(rounds, [dispatch]));
    best = Math.max(best, fmaKernel.cost({ count }, statics).flops / seconds / 1e9);
  }
  return best;
}

async function measureDispatch(device: Device, clock: Clock, rounds: number): Promise<number> {
  const extra = 256;
  return withDispatch(device, FMA_SHAPES[0]!, 1, async (dispatch) => {
    const one = await clock.best(rounds, [dispatch]);
    const many = await clock.best(
      rounds,
      Array.from({ length: 1 + extra }, () => dispatch),
    );
    return Math.max(0, ((many - one) / extra) * 1e6);
  });
}

// A pass's timestamps cannot enclose a copy of buffers: wall time, over a size that makes the submission's own cost small.
async function measureCopy(device: Device, clock: Clock, rounds: number): Promise<number> {
  const bytes = 64 * 2 ** 20;
  const [from, to] = [device.createBuffer(bytes, "copy from"), device.createBuffer(bytes, "copy to")];
  try {
    const seconds = await clock.bestWall(rounds, (encoder) =>
      encoder.copyBufferToBuffer(from.gpu, 0, to.gpu, 0, bytes),
    );
    return (2 * bytes) / seconds / 2 ** 30;
  } finally {
    from.destroy();
    to.destroy();
  }
}

async function withDispatch<T>(
  device: Device,
  statics: FmaShape,
  count: number,
  use: (dispatch: Dispatch) => Promise<T>,
): Promise<T> {
  const buffer = device.createBuffer(count * 4, "measure");
  const call = { kernel: fmaKernel, statics, dims: { count } };
  const dims = uploadDims(device, [{ ...call, buffers: {} }], "measure");
  try {
    const window = { buffer, offset: 0, size: buffer.size };
    return await use(await prepare(device, { ...call, buffers: { y: window } }, dims.window(0)));
  } finally {
    buffer.destroy();
    dims.destroy();
  }
}

interface Clock {
  /** Seconds of the fastest of `rounds` passes over these dispatches. */
  best(rounds: number, dispatches: readonly Dispatch[]): Promise<number>;
  /** Seconds from submission to completion of the fastest round. */
  bestWall(rounds: number, encode: (encoder: GPUCommandEncoder) => void): Promise<number>;
  destroy(): void;
}

function createClock(device: Device): Clock {
  const gpu = device.gpu;
  const timer = device.hasTimestamps
    ? {
        set: gpu.createQuerySet({ type: "timestamp", count: 2 }),
        resolved: device.createBuffer(16, "timestamps", GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC),
        staging: device.createBuffer(16, "read timestamps", GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST),
      }
    : undefined;

  /** The fastest of `rounds`, after one that does not count: drivers compile at the first dispatch. */
  async function best(rounds: number, seconds: () => Promise<number>): Promise<number> {
    let least = Number.POSITIVE_INFINITY;
    for (let round = 0; round <= rounds; round++) {
      const now = await seconds();
      if (round > 0) least = Math.min(least, now);
    }
    return least;
  }

  async function submit(record: (encoder: GPUCommandEncoder) => void): Promise<number> {
    const start = performance.now();
    await device.scope("measure", () => {
      const encoder = gpu.createCommandEncoder();
      record(encoder);
      gpu.queue.submit([encoder.finish()]);
    });
    await device.idle();
    return (performance.now() - start) / 1000;
  }

  return {
    best: (rounds, dispatches) =>
      best(rounds, async () => {
        const wallSeconds = await submit((encoder) => {
          const pass = encoder.beginComputePass(
            timer
              ? {
                  timestampWrites: {
                    querySet: timer.set,
                    beginningOfPassWriteIndex: 0,
                    endOfPassWriteIndex: 1,
                  },
                }
              : {},
          );
          encode(pass, dispatches);
          pass.end();
          if (!timer) return;
          encoder.resolveQuerySet(timer.set, 0, 2, timer.resolved.gpu, 0);
          encoder.copyBufferToBuffer(timer.resolved.gpu, 0, timer.staging.gpu, 0, 16);
        });
        if (!timer) return wallSeconds;
        const [begin, end] = new BigUint64Array(await device.map(timer.staging));
        // WebGPU lets a queue reset its clock at any time: then only the wall clock is left.
        return end! > begin! ? Number(end! - begin!) / 1e9 : wallSeconds;
      }),
    bestWall: (rounds, record) => best(rounds, () => submit(record)),
    destroy() {
      const buffers: readonly DeviceBuffer[] = timer ? [timer.resolved, timer.staging] : [];
      for (const buffer of buffers) buffer.destroy();
      timer?.set.destroy();
    },
  };
}
