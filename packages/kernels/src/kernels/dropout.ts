/** Dropout (Srivastava et al. 2014) whose mask is a pure function of seed, step, stream and place, so the backward pass recomputes it. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";

/** 32-bit mixing function of PCG-RXS-M-XS (O'Neill 2014); also in WGSL below. */
export function mixBits(x: number): number {
  const state = (Math.imul(x, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

/** y = x / (1 - p) where kept, else 0; an element is kept with probability 1 - p. x, y: [count]; seed: [2] = (seed, step); stream tells dropout layers apart. */
export const dropout = defineKernel<Record<never, never>, "count" | "stream" | "p", "x" | "seed" | "y">({
  name: "dropout",
  dims: { count: "u32", stream: "u32", p: "f32" },
  bindings: () => ({
    x: { type: "f32", access: "read" },
    seed: { type: "u32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
fn mix_bits(x: u32) -> u32 {
  let state = x * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count) { return; }
  let key = mix_bits(mix_bits(mix_bits(seed[0]) ^ seed[1]) ^ dims.stream);
  let draw = f32(mix_bits(key ^ mix_bits(i)) >> 8u) / 16777216.0;
  y[i] = select(0.0, x[i] / (1.0 - dims.p), draw >= dims.p);
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ x: count, seed: 2, y: count }),
  reference({ x, seed, y }, { count, stream, p }) {
    // p reaches the device as f32.
    const threshold = Math.fround(p);
    const key = mixBits(mixBits(mixBits(seed[0]!) ^ seed[1]!) ^ stream);
    for (let i = 0; i < count; i++) {
      const draw = (mixBits(key ^ mixBits(i)) >>> 8) / 16777216;
      y[i] = draw >= threshold ? x[i]! / (1 - threshold) : 0;
    }
  },
  cost: ({ count }) => ({ flops: 20 * count, bytes: 8 * count }),
  atScale: { statics: {}, dims: { count: 512 * 1024, stream: 1, p: 0.1 } },
  cases: [0, 0.1, 0.5].map((p) => ({
    name: `p ${p}`,
    statics: {},
    dims: { count: 1000, stream: 3, p },
    fill: { seed: (i: number) => [42, 7][i]! },
  })),
});
