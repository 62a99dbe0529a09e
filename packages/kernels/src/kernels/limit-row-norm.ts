/** Rows drawn back to a ball. */
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** y[r] = x[r] min(1, limit / |x[r]|), the L2 norm of a row. x, y: [rows, columns]. */
export const limitRowNorm = defineKernel<Record<never, never>, "rows" | "columns" | "limit", "x" | "y">({
  name: "limit_row_norm",
  dims: { rows: "u32", columns: "u32", limit: "f32" },
  bindings: () => ({ x: read, y: write }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let begin = row * dims.columns;
  var sum = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) { sum = fma(x[begin + c], x[begin + c], sum); }
  let norm = sqrt(sum_lanes(lane, sum));
  var factor = 1.0;
  if (norm > dims.limit) { factor = dims.limit / norm; }
  for (var c = lane; c < dims.columns; c += ${lanes}u) { y[begin + c] = x[begin + c] * factor; }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }) => ({ x: rows * columns, y: rows * columns }),
  reference({ x, y }, { rows, columns, limit }) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) sum += x[r * columns + c]! ** 2;
      const norm = Math.sqrt(sum);
      for (let c = 0; c < columns; c++) y[r * columns + c] = x[r * columns + c]! * (norm > limit ? limit / norm : 1);
    }
  },
  cost: ({ rows, columns }) => ({ flops: 3 * rows * columns, bytes: 8 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 128, columns: 496, limit: 1 } },
  cases: [
    { name: "some rows", statics: {}, dims: { rows: 4, columns: 9, limit: 1.7 } },
    { name: "zeros", statics: {}, dims: { rows: 2, columns: 3, limit: 1e-4 }, fill: { x: () => 0 } },
  ],
});
