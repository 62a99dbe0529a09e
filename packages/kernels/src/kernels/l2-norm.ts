/** The L2 norm of a whole tensor, and its gradient. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** y[0] = sqrt(sum of x^2). x: [count]; one workgroup: for small matrices. */
export const l2Norm = defineKernel<Record<never, never>, "count", "x" | "y">({
  name: "l2_norm",
  dims: { count: "u32" },
  bindings: () => ({ x: read, y: write }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  var sum = 0.0;
  for (var i = lane; i < dims.count; i += ${lanes}u) { sum = fma(x[i], x[i], sum); }
  let total = sum_lanes(lane, sum);
  if (lane == 0u) { y[0] = sqrt(total); }
}`;
  },
  grid: () => 1,
  sizes: ({ count }) => ({ x: count, y: 1 }),
  reference({ x, y }, { count }) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += x[i]! ** 2;
    y[0] = Math.sqrt(sum);
  },
  cost: ({ count }) => ({ flops: 2 * count, bytes: 4 * count }),
  atScale: { statics: {}, dims: { count: 4096 } },
  cases: [1, 700].map((count) => ({ name: `${count}`, statics: {}, dims: { count } })),
});

/** dx = g[0] x / norm[0]; 0 where the norm is 0, as PyTorch has it. x, dx: [count]. */
export const l2NormGrad = defineKernel<Record<never, never>, "count", "g" | "x" | "norm" | "dx">({
  name: "l2_norm_grad",
  dims: { count: "u32" },
  bindings: () => ({ g: read, x: read, norm: read, dx: write }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count) { return; }
  if (norm[0] == 0.0) { dx[i] = 0.0; } else { dx[i] = g[0] * x[i] / norm[0]; }
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ g: 1, x: count, norm: 1, dx: count }),
  reference({ g, x, norm, dx }, { count }) {
    for (let i = 0; i < count; i++) dx[i] = norm[0] === 0 ? 0 : (g[0]! * x[i]!) / norm[0]!;
  },
  cost: ({ count }) => ({ flops: 2 * count, bytes: 8 * count }),
  atScale: { statics: {}, dims: { count: 4096 } },
  cases: [
    { name: "70", statics: {}, dims: { count: 70 }, fill: { norm: () => 1.7 } },
    { name: "zero", statics: {}, dims: { count: 3 }, fill: { norm: () => 0 } },
  ],
});
