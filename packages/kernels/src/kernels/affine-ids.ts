/** Integers under y = scale x + offset: rows of another table, shifted positions. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ids } from "./_bindings.ts";

/** y = scale x + offset in 32-bit integers. x, y: [count] i32. `offset` is a signed number in the bits of a u32. */
export const affineIds = defineKernel<{ scale: 1 | -1 }, "count" | "offset", "x" | "y">({
  name: "affine_ids",
  dims: { count: "u32", offset: "u32" },
  bindings: () => ({ x: ids, y: { type: "i32", access: "read_write" } }),
  wgsl: ({ scale }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i < dims.count) { y[i] = ${scale === 1 ? "x[i]" : "-x[i]"} + bitcast<i32>(dims.offset); }
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ x: count, y: count }),
  reference({ x, y }, { count, offset }, { scale }) {
    for (let i = 0; i < count; i++) y[i] = scale * x[i]! + (offset | 0);
  },
  cost: ({ count }) => ({ flops: count, bytes: 8 * count }),
  atScale: { statics: { scale: 1 }, dims: { count: 2 ** 16, offset: 2 } },
  cases: [
    { name: "one", statics: { scale: 1 }, dims: { count: 1, offset: 2 }, fill: { x: () => 7 } },
    {
      name: "negative",
      statics: { scale: -1 },
      dims: { count: WORKGROUP + 1, offset: -1 >>> 0 },
      fill: { x: (i) => i - 40 },
    },
  ],
});
