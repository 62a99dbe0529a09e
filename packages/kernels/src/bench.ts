/** Timing kernels: medians of interleaved rounds, so that a noisy machine disturbs all of them alike. */
import type { Device, DeviceBuffer } from "./device.ts";
import {
  type Dims,
  encode,
  hostArrayOf,
  type Kernel,
  type KernelCase,
  type KernelCost,
  prepare,
  type Statics,
  uploadDims,
} from "./kernel.ts";

export interface Candidate {
  readonly name: string;
  readonly kernel: Kernel;
  readonly statics: Statics;
  readonly dims: Dims;
  /** Contents of a buffer at the start; zeros where there is none. */
  readonly fill?: KernelCase["fill"];
}

export interface Timing {
  readonly name: string;
  readonly seconds: number;
  readonly cost: KernelCost;
  /** From nothing to the first result: compile time, if the driver's cache was cold. */
  readonly firstSeconds: number;
}

/** Seconds of one dispatch for each candidate: the median over `rounds`, each round running all candidates in turn for about `targetMs`. */
export async function timeKernels(
  device: Device,
  candidates: readonly Candidate[],
  { rounds = 7, targetMs = 60 }: { readonly rounds?: number; readonly targetMs?: number } = {},
): Promise<Timing[]> {
  const buffers: DeviceBuffer[] = [];
  const dims = uploadDims(
    device,
    candidates.map((c) => ({ ...c, buffers: {} })),
    "bench",
  );
  try {
    const runs = [];
    for (const [i, candidate] of candidates.entries()) {
      const { kernel, statics } = candidate;
      const sizes = kernel.sizes(candidate.dims, statics);
      const bindings = kernel.bindings(statics);
      const windows = Object.fromEntries(
        Object.keys(bindings).map((name) => {
          const buffer = device.createBuffer(sizes[name]! * 4, `${kernel.name}.${name}`);
          buffers.push(buffer);
          const fill = candidate.fill?.[name];
          if (fill)
            device.write(
              buffer,
              new (hostArrayOf(bindings[name]!.type))(sizes[name]!).map((_, at) => fill(at)),
            );
          return [name, { buffer, offset: 0, size: buffer.size }];
        }),
      );
      const started = performance.now();
      const dispatch = await prepare(device, { ...candidate, buffers: windows }, dims.window(i));
      const run = async (repeats: number): Promise<number> => {
        const begin = performance.now();
        await device.scope(candidate.name, () => {
          const encoder = device.gpu.createCommandEncoder();
          const pass = encoder.beginComputePass();
          encode(
            pass,
            Array.from({ length: repeats }, () => dispatch),
          );
          pass.end();
          device.gpu.queue.submit([encoder.finish()]);
        });
        await device.idle();
        return (performance.now() - begin) / 1000 / repeats;
      };
      await run(1);
      const firstSeconds = (performance.now() - started) / 1000;
      const once = await run(1);
      const repeats = Math.max(1, Math.min(1000, Math.round(targetMs / 1000 / once)));
      runs.push({ candidate, run, repeats, firstSeconds, times: [] as number[] });
    }
    for (let round = 0; round < rounds; round++) for (const r of runs) r.times.push(await r.run(r.repeats));
    return runs.map(({ candidate, times, firstSeconds }) => ({
      name: candidate.name,
      seconds: median(times),
      cost: candidate.kernel.cost(candidate.dims, candidate.statics),
      firstSeconds,
    }));
  } finally {
    for (const buffer of buffers) buffer.destroy();
    dims.destroy();
  }
}

/** The middle value; of an even number the upper of the two. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
