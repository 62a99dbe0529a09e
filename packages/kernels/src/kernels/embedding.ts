/** Embedding lookup and its gradient. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { packedLoad, readWeightAt, weightBindings, weightSizes, type WeightType } from "./_packed.ts";

/**
 * y[t] = table[ids[t] - rowBegin] where ids[t] is in [rowBegin, rowBegin + rows), else 0 if `isFirst`, else unchanged: a table split by rows takes one call
 * for each part. table: [rows, columns]; ids: [tokens]; y: [tokens, columns].
 */
export const embedding = defineKernel<
  { type: WeightType; isFirst: boolean },
  "tokens" | "columns" | "rows" | "rowBegin",
  "table" | "table_scales" | "ids" | "y"
>({
  name: "embedding",
  dims: { tokens: "u32", columns: "u32", rows: "u32", rowBegin: "u32" },
  bindings: ({ type }) => ({
    ...weightBindings("table", type),
    ids: { type: "i32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: ({ type, isFirst }) => `${packedLoad("table", type, "dims.columns", "dims.rowBegin")}
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.tokens * dims.columns) { return; }
  let row = ids[i / dims.columns] - i32(dims.rowBegin);
  if (row >= 0 && row < i32(dims.rows)) {
    y[i] = at_table(u32(row) * dims.columns + i % dims.columns);
  } ${isFirst ? "else { y[i] = 0.0; }" : ""}
}`,
  grid: ({ tokens, columns }) => grid1d(tokens * columns),
  sizes: ({ tokens, columns, rows, rowBegin }, { type }) => ({
    ...weightSizes("table", type, { begin: rowBegin, rows, columns }),
    ids: tokens,
    y: tokens * columns,
  }),
  reference({ table, table_scales, ids, y }, { tokens, columns, rows, rowBegin }, { type, isFirst }) {
    const stored = { values: table, scales: table_scales };
    for (let t = 0; t < tokens; t++) {
      const row = ids[t]! - rowBegin;
      for (let c = 0; c < columns; c++) {
        if (row >= 0 && row < rows)
          y[t * columns + c] = readWeightAt(stored, { row, column: c, columns, begin: rowBegin }, type);
        else if (isFirst) y[t * columns + c] = 0;
      }
    }
  },
  cost: ({ tokens, columns }) => ({ flops: 0, bytes: 8 * tokens * columns }),
  atScale: {
    statics: { type: "f32", isFirst: true },
    dims: { tokens: 512, columns: 1024, rows: 32_000, rowBegin: 0 },
    fill: { ids: (i) => 61 * i },
  },
  cases: [
    {
      name: "f32",
      statics: { type: "f32", isFirst: true },
      dims: { tokens: 9, columns: 13, rows: 7, rowBegin: 0 },
      fill: { ids: (i) => (i * 5) % 8 },
    },
    {
      name: "second part",
      statics: { type: "f32", isFirst: false },
      dims: { tokens: 9, columns: 13, rows: 3, rowBegin: 4 },
      fill: { ids: (i) => (i * 5) % 8 },
    },
    {
      name: "bf16",
      statics: { type: "bf16", isFirst: true },
      dims: { tokens: 4, columns: 5, rows: 3, rowBegin: 0 },
      fill: { ids: (i) => i % 3, table: (i) => (0x3f80 + i) | ((0xbf00 + i) << 16) },
    },
    {
      name: "f16",
      statics: { type: "f16", isFirst: true },
      dims: { tokens: 4, columns: 5, rows: 3, rowBegin: 0 },
      fill: { ids: (i) => i % 3, table: (i) => (0x3c00 + i) | ((0xb800 + i) << 16) },
    },
    {
      name: "int8, second part",
      statics: { type: "int8", isFirst: false },
      dims: { tokens: 9, columns: 13, rows: 3, rowBegin: 4 },
      fill: { ids: (i) => (i * 5) % 8, table: (i) => 0x7f80_4301 + i },
    },
    {
      name: "int8 by column",
      statics: { type: "int8_columns", isFirst: true },
      dims: { tokens: 9, columns: 13, rows: 7, rowBegin: 0 },
      fill: { ids: (i) => (i * 5) % 8, table: (i) => 0x7f80_4301 + i },
    },
  ],
});

/** dtable[row] = sum of g[t] over tokens with ids[t] = row, in the order of t (so the same every time). g: [tokens, columns]; dtable: [rows, columns]. */
export const embeddingGrad = defineKernel<Record<never, never>, "tokens" | "columns" | "rows", "ids" | "g" | "dtable">({
  name: "embedding_grad",
  dims: { tokens: "u32", columns: "u32", rows: "u32" },
  bindings: () => ({
    ids: { type: "i32", access: "read" },
    g: { type: "f32", access: "read" },
    dtable: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  for (var c = lane; c < dims.columns; c += ${WORKGROUP}u) { dtable[row * dims.columns + c] = 0.0; }
  for (var t = 0u; t < dims.tokens; t++) {
    if (ids[t] != i32(row)) { continue; }
    for (var c = lane; c < dims.columns; c += ${WORKGROUP}u) { dtable[row * dims.columns + c] += g[t * dims.columns + c]; }
  }
}`,
  grid: ({ rows }) => rows,
  sizes: ({ tokens, columns, rows }) => ({ ids: tokens, g: tokens * columns, dtable: rows * columns }),
  reference({ ids, g, dtable }, { tokens, columns, rows }) {
    dtable.fill(0, 0, rows * columns);
    for (let t = 0; t < tokens; t++) {
      const row = ids[t]!;
      if (row < 0 || row >= rows) continue;
      for (let c = 0; c < columns; c++) dtable[row * columns + c] = dtable[row * columns + c]! + g[t * columns + c]!;
    }
  },
  cost: ({ tokens, columns, rows }) => ({ flops: tokens * columns, bytes: 4 * (tokens * columns + rows * columns) }),
  atScale: { statics: {}, dims: { tokens: 512, columns: 1024, rows: 1000 }, fill: { ids: (i) => (61 * i) % 1000 } },
  cases: [
    {
      name: "repeated ids",
      statics: {},
      dims: { tokens: 11, columns: 70, rows: 5 },
      fill: { ids: (i) => (i * 3) % 5 },
    },
  ],
});
