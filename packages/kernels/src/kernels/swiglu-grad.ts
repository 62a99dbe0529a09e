/** Gradient of LLaMA's gate silu(gate) * up, for both factors in one pass. */
import { elementsOf, grid1d, isWide, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";

/**
 * With s = 1 / (1 + exp(-gate)): dgate = g up s (1 + gate (1 - s)), dup = g gate s. All: [count]. `wide`: four elements a thread; count must be a
 * multiple of 4.
 */
export const swigluGrad = defineKernel<{ wide: boolean }, "count", "g" | "gate" | "up" | "dgate" | "dup">({
  name: "swiglu_grad",
  dims: { count: "u32" },
  bindings: ({ wide }) => ({
    g: { type: elementsOf(wide), access: "read" },
    gate: { type: elementsOf(wide), access: "read" },
    up: { type: elementsOf(wide), access: "read" },
    dgate: { type: elementsOf(wide), access: "read_write" },
    dup: { type: elementsOf(wide), access: "read_write" },
  }),
  wgsl: ({ wide }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count${wide ? " / 4u" : ""}) { return; }
  let a = gate[i];
  let upstream = g[i];
  let s = 1.0 / (1.0 + exp(-a));
  dgate[i] = upstream * up[i] * s * (1.0 + a * (1.0 - s));
  dup[i] = upstream * a * s;
}`,
  grid: ({ count }, { wide }) => grid1d(wide ? count / 4 : count),
  sizes: ({ count }) => ({ g: count, gate: count, up: count, dgate: count, dup: count }),
  reference({ g, gate, up, dgate, dup }, { count }) {
    for (let i = 0; i < count; i++) {
      const s = 1 / (1 + Math.exp(-gate[i]!));
      dgate[i] = g[i]! * up[i]! * s * (1 + gate[i]! * (1 - s));
      dup[i] = g[i]! * gate[i]! * s;
    }
  },
  cost: ({ count }) => ({ flops: 10 * count, bytes: 20 * count }),
  atScale: { statics: { wide: true }, dims: { count: 512 * 2816 } },
  cases: [1, WORKGROUP + 1, 4 * WORKGROUP + 4].map((count) => ({
    name: `${count}`,
    statics: { wide: isWide(count) },
    dims: { count },
    fill: { gate: (i: number) => ((i * 7) % 41) / 5 - 4 },
  })),
});
