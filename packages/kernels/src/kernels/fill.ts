/** y = value everywhere. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";

/** y: [count]. */
export const fillKernel = defineKernel<Record<never, never>, "count" | "value", "y">({
  name: "fill",
  dims: { count: "u32", value: "f32" },
  bindings: () => ({ y: { type: "f32", access: "read_write" } }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i < dims.count) { y[i] = dims.value; }
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ y: count }),
  reference({ y }, { count, value }) {
    y.fill(value, 0, count);
  },
  cost: ({ count }) => ({ flops: 0, bytes: 4 * count }),
  atScale: { statics: {}, dims: { count: 2 ** 20, value: 0 } },
  cases: [1, WORKGROUP + 1].map((count) => ({ name: `${count}`, statics: {}, dims: { count, value: 2.5 } })),
});
