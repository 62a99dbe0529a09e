/** Elementwise functions of one tensor: y = f(x), and y = scale * x. */
import { elementsOf, grid1d, isWide, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { erf, ERF_WGSL } from "./binary.ts";

/** WGSL expression of x (and dims.scale) and its plain reference. tanh is clamped: drivers return NaN for large arguments. */
export const unaryFunctions = {
  silu: { wgsl: "x / (1.0 + exp(-x))", f: (x: number) => x / (1 + Math.exp(-x)) },
  relu: { wgsl: "max(x, 0.0)", f: (x: number) => Math.max(x, 0) },
  tanh: { wgsl: "tanh_safe(x)", f: (x: number) => Math.tanh(x) },
  /** x * Phi(x), exact. Hendrycks & Gimpel 2016, arXiv:1606.08415. */
  gelu: { wgsl: "0.5 * x * (1.0 + erf(x * 0.70710678))", f: (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2)) },
  gelu_tanh: {
    wgsl: "0.5 * x * (1.0 + tanh_safe(0.79788456 * (x + 0.044715 * x * x * x)))",
    f: (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  },
  sigmoid: { wgsl: "1.0 / (1.0 + exp(-x))", f: (x: number) => 1 / (1 + Math.exp(-x)) },
  leaky_relu: { wgsl: "max(x, 0.01 * x)", f: (x: number) => Math.max(x, 0.01 * x) },
  /** x * sigmoid(1.702 x): Hendrycks & Gimpel's quick approximation of gelu. */
  quick_gelu: { wgsl: "x / (1.0 + exp(-1.702 * x))", f: (x: number) => x / (1 + Math.exp(-1.702 * x)) },
  scale: { wgsl: "dims.scale * x", f: (x: number, scale: number) => scale * x },
} as const;
export type UnaryName = keyof typeof unaryFunctions;

/** x, y: [count]. `scale` is read by "scale" alone. `wide`: four elements a thread; count must be a multiple of 4. */
export const unary = defineKernel<{ fn: UnaryName; wide: boolean }, "count" | "scale", "x" | "y">({
  name: "unary",
  dims: { count: "u32", scale: "f32" },
  bindings: ({ wide }) => ({
    x: { type: elementsOf(wide), access: "read" },
    y: { type: elementsOf(wide), access: "read_write" },
  }),
  wgsl: ({ fn, wide }) => `${ERF_WGSL}
fn f(x: f32) -> f32 { return ${unaryFunctions[fn].wgsl}; }
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count${wide ? " / 4u" : ""}) { return; }
  let x = x[i];
  y[i] = ${wide ? "vec4f(f(x.x), f(x.y), f(x.z), f(x.w))" : "f(x)"};
}`,
  grid: ({ count }, { wide }) => grid1d(wide ? count / 4 : count),
  sizes: ({ count }) => ({ x: count, y: count }),
  reference({ x, y }, { count, scale }, { fn }) {
    for (let i = 0; i < count; i++) y[i] = unaryFunctions[fn].f(x[i]!, scale);
  },
  cost: ({ count }) => ({ flops: 4 * count, bytes: 8 * count }),
  atScale: { statics: { fn: "silu", wide: true }, dims: { count: 512 * 2816, scale: 1 } },
  cases: (Object.keys(unaryFunctions) as UnaryName[]).flatMap((fn) =>
    [1, WORKGROUP + 1, 5000].map((count) => ({
      name: `${fn} ${count}`,
      statics: { fn, wide: isWide(count) },
      dims: { count, scale: -1.5 },
      fill: { x: (i: number) => ((i * 37) % 201) / 20 - 5 },
    })),
  ),
});
