/** Row vectors against matrices: bias, learned scales, and the sums that are their gradients. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";

/** y[r, c] = x[r, c] + v[c] or x[r, c] * v[c]. x, y: [count / columns, columns]; v: [columns]. */
export const columnwise = defineKernel<{ fn: "add" | "mul" }, "count" | "columns", "x" | "v" | "y">({
  name: "columnwise",
  dims: { count: "u32", columns: "u32" },
  bindings: () => ({
    x: { type: "f32", access: "read" },
    v: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: ({ fn }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count) { return; }
  y[i] = x[i] ${fn === "add" ? "+" : "*"} v[i % dims.columns];
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count, columns }) => ({ x: count, v: columns, y: count }),
  reference({ x, v, y }, { count, columns }, { fn }) {
    for (let i = 0; i < count; i++) y[i] = fn === "add" ? x[i]! + v[i % columns]! : x[i]! * v[i % columns]!;
  },
  cost: ({ count }) => ({ flops: count, bytes: 12 * count }),
  atScale: { statics: { fn: "mul" }, dims: { count: 512 * 1024, columns: 1024 } },
  cases: (["add", "mul"] as const).map((fn) => ({ name: fn, statics: { fn }, dims: { count: 7 * 13, columns: 13 } })),
});

/** y[c] = sum over rows of x[r, c]. x: [rows, columns]; y: [columns]. */
export const sumRows = defineKernel<Record<never, never>, "rows" | "columns", "x" | "y">({
  name: "sum_rows",
  dims: { rows: "u32", columns: "u32" },
  bindings: () => ({ x: { type: "f32", access: "read" }, y: { type: "f32", access: "read_write" } }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let c = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (c >= dims.columns) { return; }
  var sum = 0.0;
  for (var r = 0u; r < dims.rows; r++) { sum += x[r * dims.columns + c]; }
  y[c] = sum;
}`,
  grid: ({ columns }) => grid1d(columns),
  sizes: ({ rows, columns }) => ({ x: rows * columns, y: columns }),
  reference({ x, y }, { rows, columns }) {
    for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let r = 0; r < rows; r++) sum += x[r * columns + c]!;
      y[c] = sum;
    }
  },
  cost: ({ rows, columns }) => ({ flops: rows * columns, bytes: 4 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 512, columns: 1024 } },
  cases: [
    { name: "one", statics: {}, dims: { rows: 1, columns: 1 } },
    { name: "9x67", statics: {}, dims: { rows: 9, columns: 67 } },
  ],
});

/** y[0] = scale[0] * sum of x. x: [count]; one workgroup of one thread: for a few thousand per-token losses. */
export const scaledSum = defineKernel<Record<never, never>, "count", "x" | "scale" | "y">({
  name: "scaled_sum",
  dims: { count: "u32" },
  bindings: () => ({
    x: { type: "f32", access: "read" },
    scale: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
@compute @workgroup_size(1)
fn main() {
  // Kahan's correction: a plain f32 sum of thousands of losses loses the fifth digit.
  var sum = 0.0;
  var lost = 0.0;
  for (var i = 0u; i < dims.count; i++) {
    let next = x[i] - lost;
    let total = sum + next;
    lost = (total - sum) - next;
    sum = total;
  }
  y[0] = scale[0] * sum;
}`,
  grid: () => 1,
  sizes: ({ count }) => ({ x: count, scale: 1, y: 1 }),
  reference({ x, scale, y }, { count }) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += x[i]!;
    y[0] = scale[0]! * sum;
  },
  cost: ({ count }) => ({ flops: count, bytes: 4 * count }),
  atScale: { statics: {}, dims: { count: 2048 } },
  cases: [1, 700].map((count) => ({
    name: `${count}`,
    statics: {},
    dims: { count },
    fill: { x: (i: number) => (i % 13) / 3 },
  })),
});

/** y[r, c] = x[r, c] v[r]. x, y: [count / columns, columns]; v: [count / columns]. */
export const rowwise = defineKernel<Record<never, never>, "count" | "columns", "x" | "v" | "y">({
  name: "rowwise",
  dims: { count: "u32", columns: "u32" },
  bindings: () => ({
    x: { type: "f32", access: "read" },
    v: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i < dims.count) { y[i] = x[i] * v[i / dims.columns]; }
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count, columns }) => ({ x: count, v: count / columns, y: count }),
  reference({ x, v, y }, { count, columns }) {
    for (let i = 0; i < count; i++) y[i] = x[i]! * v[Math.floor(i / columns)]!;
  },
  cost: ({ count }) => ({ flops: count, bytes: 8 * count }),
  atScale: { statics: {}, dims: { count: 512 * 1024, columns: 1024 } },
  cases: [{ name: "7x13", statics: {}, dims: { count: 7 * 13, columns: 13 } }],
});

/** y = a[0] b[0] everywhere. y: [count]. */
export const spread = defineKernel<Record<never, never>, "count", "a" | "b" | "y">({
  name: "spread",
  dims: { count: "u32" },
  bindings: () => ({
    a: { type: "f32", access: "read" },
    b: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i < dims.count) { y[i] = a[0] * b[0]; }
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ a: 1, b: 1, y: count }),
  reference({ a, b, y }, { count }) {
    y.fill(a[0]! * b[0]!, 0, count);
  },
  cost: ({ count }) => ({ flops: 0, bytes: 4 * count }),
  atScale: { statics: {}, dims: { count: 2048 } },
  cases: [{ name: "70", statics: {}, dims: { count: 70 } }],
});
