/** Transposition, and row norms of a weight with a change added. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";
import { packedLoad, readWeightAt, weightBindings, weightSizes, type WeightType } from "./_packed.ts";

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
  "w" | "w_scales" | "change" | "y"
>({
  name: "inverse_row_norm",
  dims: { rows: "u32", columns: "u32" },
  bindings: ({ type }) => ({
    ...weightBindings("w", type),
    change: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl({ type, isTransposed }, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${packedLoad("w", type, isTransposed ? "dims.rows" : "dims.columns")}${laneReductions(lanes)}
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
  sizes: ({ rows, columns }, { type, isTransposed }) => ({
    ...weightSizes("w", type, isTransposed ? { rows: columns, columns: rows } : { rows, columns }),
    change: rows * columns,
    y: rows,
  }),
  reference({ w, w_scales, change, y }, { rows, columns }, { type, isTransposed }) {
    const width = isTransposed ? rows : columns;
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) {
        const [row, column] = isTransposed ? [c, r] : [r, c];
        const value = readWeightAt({ values: w, scales: w_scales }, { row, column, columns: width }, type);
        sum += (value + change[row * width + column]!) ** 2;
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
    {
      name: "int8",
      statics: { type: "int8", isTransposed: false },
      dims: { rows: 5, columns: 19 },
      fill: { w: (i) => 0x7f80_4301 + i },
    },
    {
      name: "nf4",
      statics: { type: "nf4", isTransposed: false },
      dims: { rows: 5, columns: 19 },
      fill: { w: (i) => 0x7153_89ab - i, w_scales: (i) => (i < 2 ? 0x3f80_0000 : 0x3800_ba70 + i) },
    },
  ],
});
