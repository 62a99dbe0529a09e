/** A window along one dimension: slices, and their gradients. */
import { elementsOf, grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** y[o, a, i] = x[o, a + skip - lead, i], 0 where that is outside x. x: [outer, columns, inner]; y: [outer, length, inner]. `wide`: four elements a thread, inner a multiple of 4. */
export const windowKernel = defineKernel<
  { wide: boolean },
  "outer" | "columns" | "length" | "inner" | "skip" | "lead",
  "x" | "y"
>({
  name: "window",
  dims: { outer: "u32", columns: "u32", length: "u32", inner: "u32", skip: "u32", lead: "u32" },
  bindings: ({ wide }) => ({ x: { ...read, type: elementsOf(wide) }, y: { ...write, type: elementsOf(wide) } }),
  wgsl: ({ wide }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let at = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  let inner = dims.inner${wide ? " / 4u" : ""};
  if (at >= dims.outer * dims.length * inner) { return; }
  let row = at / inner;
  let a = i32(row % dims.length + dims.skip) - i32(dims.lead);
  let source = (row / dims.length) * dims.columns + u32(clamp(a, 0, i32(dims.columns) - 1));
  y[at] = select(${elementsOf(wide)}(), x[source * inner + at % inner], a >= 0 && a < i32(dims.columns));
}`,
  grid: ({ outer, length, inner }, { wide }) => grid1d((outer * length * inner) / (wide ? 4 : 1)),
  sizes: ({ outer, columns, length, inner }) => ({ x: outer * columns * inner, y: outer * length * inner }),
  reference({ x, y }, { outer, columns, length, inner, skip, lead }) {
    for (let o = 0; o < outer; o++) {
      for (let a = 0; a < length; a++) {
        const source = a + skip - lead;
        const isInside = source >= 0 && source < columns;
        for (let i = 0; i < inner; i++)
          y[(o * length + a) * inner + i] = isInside ? x[(o * columns + source) * inner + i]! : 0;
      }
    }
  },
  cost: ({ outer, length, inner }) => ({ flops: 0, bytes: 8 * outer * length * inner }),
  atScale: { statics: { wide: true }, dims: { outer: 8192, columns: 3, length: 1, inner: 64, skip: 1, lead: 0 } },
  cases: [
    { name: "a slice", statics: { wide: true }, dims: { outer: 5, columns: 7, length: 3, inner: 4, skip: 2, lead: 0 } },
    {
      name: "past both ends",
      statics: { wide: false },
      dims: { outer: 3, columns: 4, length: 9, inner: 5, skip: 0, lead: 2 },
    },
    {
      name: "one element",
      statics: { wide: false },
      dims: { outer: 1, columns: 1, length: 1, inner: 1, skip: 0, lead: 0 },
    },
  ],
});
