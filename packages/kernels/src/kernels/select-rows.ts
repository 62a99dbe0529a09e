/** Rows of one matrix replaced by rows of another. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { ids, read, write } from "./_bindings.ts";

/** y[r] = table[ids[r]] where that is a row of the table, else x[r]. x, y: [rows, columns]; table: [tableRows, columns]; ids: [rows]. */
export const selectRows = defineKernel<
  Record<never, never>,
  "rows" | "columns" | "tableRows",
  "x" | "table" | "ids" | "y"
>({
  name: "select_rows",
  dims: { rows: "u32", columns: "u32", tableRows: "u32" },
  bindings: () => ({ x: read, table: read, ids, y: write }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.rows * dims.columns) { return; }
  let id = ids[i / dims.columns];
  if (id >= 0 && id < i32(dims.tableRows)) {
    y[i] = table[u32(id) * dims.columns + i % dims.columns];
  } else {
    y[i] = x[i];
  }
}`,
  grid: ({ rows, columns }) => grid1d(rows * columns),
  sizes: ({ rows, columns, tableRows }) => ({
    x: rows * columns,
    table: tableRows * columns,
    ids: rows,
    y: rows * columns,
  }),
  reference({ x, table, ids: chosen, y }, { rows, columns, tableRows }) {
    for (let r = 0; r < rows; r++) {
      const id = chosen[r]!;
      const isInTable = id >= 0 && id < tableRows;
      for (let c = 0; c < columns; c++) y[r * columns + c] = isInTable ? table[id * columns + c]! : x[r * columns + c]!;
    }
  },
  cost: ({ rows, columns }) => ({ flops: 0, bytes: 8 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 512, columns: 1024, tableRows: 30 }, fill: { ids: (i) => 30 - (i % 128) } },
  cases: [
    { name: "one row", statics: {}, dims: { rows: 1, columns: 1, tableRows: 1 } },
    {
      name: "some rows",
      statics: {},
      dims: { rows: 9, columns: WORKGROUP + 1, tableRows: 3 },
      fill: { ids: (i) => i - 3 },
    },
  ],
});
