/** Exchange of two neighbouring axes. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";

/** y[o, b, a, i] = x[o, a, b, i]. x: [outer, first, second, inner]; y: [outer, second, first, inner]. */
export const swapAxesKernel = defineKernel<Record<never, never>, "outer" | "first" | "second" | "inner", "x" | "y">({
  name: "swap_axes",
  dims: { outer: "u32", first: "u32", second: "u32", inner: "u32" },
  bindings: () => ({ x: { type: "f32", access: "read" }, y: { type: "f32", access: "read_write" } }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let at = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (at >= dims.outer * dims.first * dims.second * dims.inner) { return; }
  let i = at % dims.inner;
  let a = (at / dims.inner) % dims.first;
  let b = (at / (dims.inner * dims.first)) % dims.second;
  let o = at / (dims.inner * dims.first * dims.second);
  y[at] = x[((o * dims.first + a) * dims.second + b) * dims.inner + i];
}`,
  grid: ({ outer, first, second, inner }) => grid1d(outer * first * second * inner),
  sizes: ({ outer, first, second, inner }) => ({
    x: outer * first * second * inner,
    y: outer * first * second * inner,
  }),
  reference({ x, y }, { outer, first, second, inner }) {
    for (let o = 0; o < outer; o++)
      for (let a = 0; a < first; a++)
        for (let b = 0; b < second; b++)
          for (let i = 0; i < inner; i++)
            y[((o * second + b) * first + a) * inner + i] = x[((o * first + a) * second + b) * inner + i]!;
  },
  cost: ({ outer, first, second, inner }) => ({ flops: 0, bytes: 8 * outer * first * second * inner }),
  atScale: { statics: {}, dims: { outer: 4, first: 4, second: 1024, inner: 32 } },
  cases: [
    { name: "one", statics: {}, dims: { outer: 1, first: 1, second: 1, inner: 1 } },
    { name: "3x5x7x2", statics: {}, dims: { outer: 3, first: 5, second: 7, inner: 2 } },
  ],
});
