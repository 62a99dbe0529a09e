/** Inverses of many small matrices. */
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** 1 + (small) skew-symmetric matrices, as the rotations of OFT have them. */
const nearIdentity = (size: number) => (at: number) => {
  const [i, j] = [Math.floor(at / size) % size, at % size];
  return i === j ? 1 : (i < j ? 1 : -1) * 0.4 * Math.sin(1 + Math.min(i, j) + 5 * Math.max(i, j));
};

/**
 * y[m] = x[m]^-1 by Gauss and Jordan's elimination in place, one workgroup for each matrix. There is no pivoting: it is for matrices whose symmetric part is positive
 * definite, whose pivots are then positive (Golub & Van Loan 2013, 4.3). x, y: [count, size, size].
 */
export const inverse = defineKernel<Record<never, never>, "count" | "size", "x" | "y">({
  name: "inverse",
  dims: { count: "u32", size: "u32" },
  bindings: () => ({ x: read, y: write }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let m = workgroup_index(group, groups);
  if (m >= dims.count) { return; }
  let n = dims.size;
  let begin = m * n * n;
  for (var at = lane; at < n * n; at += ${lanes}u) { y[begin + at] = x[begin + at]; }
  storageBarrier();
  for (var k = 0u; k < n; k++) {
    let row = begin + k * n;
    let pivot = 1.0 / y[row + k];
    storageBarrier();
    for (var j = lane; j < n; j += ${lanes}u) { if (j == k) { y[row + j] = pivot; } else { y[row + j] *= pivot; } }
    storageBarrier();
    for (var i = lane; i < n; i += ${lanes}u) {
      if (i == k) { continue; }
      let own = begin + i * n;
      let factor = y[own + k];
      for (var j = 0u; j < n; j++) {
        if (j == k) { y[own + j] = -factor * pivot; } else { y[own + j] = fma(-factor, y[row + j], y[own + j]); }
      }
    }
    storageBarrier();
  }
}`;
  },
  grid: ({ count }) => count,
  sizes: ({ count, size }) => ({ x: count * size * size, y: count * size * size }),
  reference({ x, y }, { count, size: n }) {
    for (let m = 0; m < count; m++) {
      const begin = m * n * n;
      for (let at = begin; at < begin + n * n; at++) y[at] = x[at]!;
      for (let k = 0; k < n; k++) {
        const row = begin + k * n;
        const pivot = 1 / y[row + k]!;
        for (let j = 0; j < n; j++) y[row + j] = j === k ? pivot : y[row + j]! * pivot;
        for (let i = 0; i < n; i++) {
          if (i === k) continue;
          const own = begin + i * n;
          const factor = y[own + k]!;
          for (let j = 0; j < n; j++) y[own + j] = j === k ? -factor * pivot : y[own + j]! - factor * y[row + j]!;
        }
      }
    }
  },
  cost: ({ count, size }) => ({ flops: 2 * count * size ** 3, bytes: 8 * count * size * size }),
  atScale: { statics: {}, dims: { count: 128, size: 32 }, fill: { x: nearIdentity(32) } },
  cases: [
    { name: "one element", statics: {}, dims: { count: 2, size: 1 }, fill: { x: (i) => 2 + i } },
    { name: "3 of 5x5", statics: {}, dims: { count: 3, size: 5 }, fill: { x: nearIdentity(5) } },
    { name: "2 of 33x33", statics: {}, dims: { count: 2, size: 33 }, fill: { x: nearIdentity(33) } },
  ],
});
