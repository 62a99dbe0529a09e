/** A tensor put at its place along one dimension of a larger one. */
import { elementsOf, grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** y[o, begin + a, i] = x[o, a, i]; the rest of y stays. x: [outer, columns, inner]; y: [outer, length, inner]. `wide`: four elements a thread, inner a multiple of 4. */
export const place = defineKernel<{ wide: boolean }, "outer" | "columns" | "length" | "inner" | "begin", "x" | "y">({
  name: "place",
  dims: { outer: "u32", columns: "u32", length: "u32", inner: "u32", begin: "u32" },
  bindings: ({ wide }) => ({ x: { ...read, type: elementsOf(wide) }, y: { ...write, type: elementsOf(wide) } }),
  wgsl: ({ wide }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let at = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  let inner = dims.inner${wide ? " / 4u" : ""};
  if (at >= dims.outer * dims.columns * inner) { return; }
  let row = at / inner;
  let target_row = (row / dims.columns) * dims.length + dims.begin + row % dims.columns;
  y[target_row * inner + at % inner] = x[at];
}`,
  grid: ({ outer, columns, inner }, { wide }) => grid1d((outer * columns * inner) / (wide ? 4 : 1)),
  sizes: ({ outer, columns, length, inner }) => ({ x: outer * columns * inner, y: outer * length * inner }),
  reference({ x, y }, { outer, columns, length, inner, begin }) {
    for (let o = 0; o < outer; o++) {
      for (let a = 0; a < columns; a++) {
        for (let i = 0; i < inner; i++) y[(o * length + begin + a) * inner + i] = x[(o * columns + a) * inner + i]!;
      }
    }
  },
  cost: ({ outer, columns, inner }) => ({ flops: 0, bytes: 8 * outer * columns * inner }),
  atScale: { statics: { wide: true }, dims: { outer: 512, columns: 1, length: 3, inner: 1024, begin: 1 } },
  cases: [
    { name: "between", statics: { wide: true }, dims: { outer: 5, columns: 2, length: 7, inner: 4, begin: 3 } },
    { name: "at the end", statics: { wide: false }, dims: { outer: 3, columns: 4, length: 9, inner: 5, begin: 5 } },
    { name: "one element", statics: { wide: false }, dims: { outer: 1, columns: 1, length: 1, inner: 1, begin: 0 } },
  ],
});
