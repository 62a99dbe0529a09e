/** Transposition, and row norms of a weight with a change added. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";
import { packedLoad, readPacked, type WeightType } from "./_packed.ts";

/** y[c, r] = x[r, c]. x: [rows, columns]; y: [columns, rows]. */
export const transposeKernel = defineKernel<Record<never, never>, "rows" | "columns", "x" | "y">({
  name: "transpose",
  dims: { rows: "u32", columns: "u32" },
  bindings: () => ({ x: { type: "f32", access: "read" }, y: { type: "f32", access: "read_write" } }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.rows * dims.columns) { return; }
  y[i] = x[(i % dims.rows) * dims.columns + i / dims.rows];
}`,
  grid: ({ rows, columns }) => grid1d(rows * columns),
  sizes: ({ rows, columns }) => ({ x: rows * columns, y: rows * columns }),
  reference({ x, y }, { rows, columns }) {
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) y[c * rows + r] = x[r * columns + c]!;
  },
  cost: ({ rows, columns }) => ({ flops: 0, bytes: 8 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 1024, columns: 1024 } },
  cases: [{ name: "9x14", statics: {}, dims: { rows: 9, columns: 14 } }],
});

/**
 * y[r] = 1 / |w[r] + change[r]|, the L2 norm of a row. w: [rows, columns] of `type`; change: [rows, columns]; y: [rows]. `isTransposed`: both are stored [columns, rows].
 */
export const inverseRowNormKernel = defineKernel<
  { type: WeightType; isTransposed: boolean },
  "rows" | "columns",
  "w" | "change" | "y"
>({
  name: "inverse_row_norm",
  dims: { rows: "u32", columns: "u32" },
  bindings: ({ type }) => ({
    w: { type: type === "f32" ? "f32" : "u32", access: "read" },
    change: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl({ type, isTransposed }, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${packedLoad("w", type)}${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  var sum = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) {
    let at = ${isTransposed ? "c * dims.rows + row" : "row * dims.columns + c"};
    let v = at_w(at) + change[at];
    sum += v * v;
  }
  let total = sum_lanes(lane, sum);
  if (lane == 0u) { y[row] = 1.0 / sqrt(total); }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }, { type }) => ({
    w: type === "f32" ? rows * columns : Math.ceil((rows * columns) / 2),
    change: rows * columns,
    y: rows,
  }),
  reference({ w, change, y }, { rows, columns }, { type, isTransposed }) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) {
        const at = isTransposed ? c * rows + r : r * columns + c;
        sum += (readPacked(w, at, type) + change[at]!) ** 2;
      }
      y[r] = 1 / Math.sqrt(sum);
    }
  },
  cost: ({ rows, columns }) => ({ flops: 3 * rows * columns, bytes: 8 * rows * columns }),
  atScale: { statics: { type: "f32", isTransposed: false }, dims: { rows: 1024, columns: 1024 } },
  cases: [
    ...[false, true].map((isTransposed) => ({
      name: isTransposed ? "f32, transposed" : "f32",
      statics: { type: "f32" as const, isTransposed },
      dims: { rows: 5, columns: 19 },
    })),
    {
      name: "bf16",
      statics: { type: "bf16", isTransposed: false },
      dims: { rows: 3, columns: 7 },
      fill: { w: (i) => (0x3f80 + i) | ((0xbf00 + i) << 16) },
    },
  ],
});
