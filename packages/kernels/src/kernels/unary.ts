/** Elementwise functions of one tensor: y = f(x). */
import { defineKernel } from "../kernel.ts";
import { grid1d, WORKGROUP } from "../grid.ts";

/** WGSL expression of x and its plain reference. tanh is clamped: drivers return NaN for large arguments. */
export const unaryFunctions = {
  silu: { wgsl: "x / (1.0 + exp(-x))", f: (x: number) => x / (1 + Math.exp(-x)) },
  relu: { wgsl: "max(x, 0.0)", f: (x: number) => Math.max(x, 0) },
  tanh: { wgsl: "tanh(clamp(x, -15.0, 15.0))", f: (x: number) => Math.tanh(x) },
} as const;
export type UnaryName = keyof typeof unaryFunctions;

/** x, y: [count]. */
export const unary = defineKernel<{ fn: UnaryName }, "count", "x" | "y">({
  name: "unary",
  dims: { count: "u32" },
  bindings: () => ({ x: { type: "f32", access: "read" }, y: { type: "f32", access: "read_write" } }),
  wgsl: ({ fn }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count) { return; }
  let x = x[i];
  y[i] = ${unaryFunctions[fn].wgsl};
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ x: count, y: count }),
  reference({ x, y }, { count }, { fn }) {
    for (let i = 0; i < count; i++) y[i] = unaryFunctions[fn].f(x[i]!);
  },
  cost: ({ count }) => ({ flops: 4 * count, bytes: 8 * count }),
  cases: (Object.keys(unaryFunctions) as UnaryName[]).flatMap((fn) =>
    [1, WORKGROUP + 1, 5000].map((count) => ({ name: `${fn} ${count}`, statics: { fn }, dims: { count } })),
  ),
});
