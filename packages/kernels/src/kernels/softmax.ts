/** Softmax of rows, and its gradient. */
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS, rowTopAndSum, topAndSum } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** y[r, c] = exp(x[r, c]) / sum over c of exp(x[r, c]), computed from the row's highest entry down. x, y: [rows, columns]. */
export const softmax = defineKernel<Record<never, never>, "rows" | "columns", "x" | "y">({
  name: "softmax",
  dims: { rows: "u32", columns: "u32" },
  bindings: () => ({ x: read, y: write }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let begin = row * dims.columns;
  ${rowTopAndSum("x", lanes)}
  for (var c = lane; c < dims.columns; c += ${lanes}u) { y[begin + c] = exp(x[begin + c] - top) / sum; }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }) => ({ x: rows * columns, y: rows * columns }),
  reference({ x, y }, { rows, columns }) {
    for (let r = 0; r < rows; r++) {
      const { top, sum } = topAndSum(x.subarray(r * columns, (r + 1) * columns));
      for (let c = 0; c < columns; c++) y[r * columns + c] = Math.exp(x[r * columns + c]! - top) / sum;
    }
  },
  cost: ({ rows, columns }) => ({ flops: 5 * rows * columns, bytes: 8 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 512, columns: 1024 } },
  cases: [
    { name: "one column", statics: {}, dims: { rows: 3, columns: 1 } },
    { name: "7x131", statics: {}, dims: { rows: 7, columns: 131 } },
    { name: "large entries", statics: {}, dims: { rows: 2, columns: 9 }, fill: { x: (i) => 400 - 90 * i } },
  ],
});

/** dx[r, c] = y[r, c] (g[r, c] - sum over c of g[r, c] y[r, c]), y the softmax. All: [rows, columns]. */
export const softmaxGrad = defineKernel<Record<never, never>, "rows" | "columns", "y" | "g" | "dx">({
  name: "softmax_grad",
  dims: { rows: "u32", columns: "u32" },
  bindings: () => ({ y: read, g: read, dx: write }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let begin = row * dims.columns;
  var sum = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) { sum = fma(g[begin + c], y[begin + c], sum); }
  sum = sum_lanes(lane, sum);
  for (var c = lane; c < dims.columns; c += ${lanes}u) { dx[begin + c] = y[begin + c] * (g[begin + c] - sum); }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }) => ({ y: rows * columns, g: rows * columns, dx: rows * columns }),
  reference({ y, g, dx }, { rows, columns }) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += g[r * columns + c]! * y[r * columns + c]!;
      for (let c = 0; c < columns; c++) dx[r * columns + c] = y[r * columns + c]! * (g[r * columns + c]! - sum);
    }
  },
  cost: ({ rows, columns }) => ({ flops: 4 * rows * columns, bytes: 12 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 512, columns: 1024 } },
  cases: [
    { name: "one column", statics: {}, dims: { rows: 3, columns: 1 } },
    { name: "7x131", statics: {}, dims: { rows: 7, columns: 131 } },
  ],
});
