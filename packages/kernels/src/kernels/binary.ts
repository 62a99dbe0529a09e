/** Elementwise functions of two tensors: y = f(a, b). */
import { elementsOf, grid1d, isWide, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** erf to 1.5e-7 (Abramowitz & Stegun 7.1.26); WGSL has none. */
export const ERF_WGSL = `
fn erf_positive(x: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.3275911 * x);
  let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return 1.0 - p * exp(-x * x);
}
fn erf(x: f32) -> f32 { return sign(x) * erf_positive(abs(x)); }
fn tanh_safe(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }
`;

/** erf in double precision by its Maclaurin series and, far out, by its continued fraction. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
      if (n > 200) break;
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

const SQRT_2_PI = Math.sqrt(2 / Math.PI);
const innerTanh = (x: number) => Math.tanh(SQRT_2_PI * (x + 0.044715 * x ** 3));

/** For the gradients a is the upstream gradient and b the input of the activation. */
export const binaryFunctions = {
  add: { wgsl: "a + b", f: (a: number, b: number) => a + b },
  sub: { wgsl: "a - b", f: (a: number, b: number) => a - b },
  mul: { wgsl: "a * b", f: (a: number, b: number) => a * b },
  /** silu(a) * b: LLaMA's gated MLP. */
  swiglu: { wgsl: "a / (1.0 + exp(-a)) * b", f: (a: number, b: number) => a * sigmoid(a) * b },
  silu_grad: {
    wgsl: "a * (1.0 / (1.0 + exp(-b))) * (1.0 + b * (1.0 - 1.0 / (1.0 + exp(-b))))",
    f: (a: number, b: number) => a * sigmoid(b) * (1 + b * (1 - sigmoid(b))),
  },
  relu_grad: { wgsl: "select(0.0, a, b > 0.0)", f: (a: number, b: number) => (b > 0 ? a : 0) },
  leaky_relu_grad: { wgsl: "a * select(0.01, 1.0, b > 0.0)", f: (a: number, b: number) => (b > 0 ? a : 0.01 * a) },
  sigmoid_grad: {
    wgsl: "a * (1.0 / (1.0 + exp(-b))) * (1.0 - 1.0 / (1.0 + exp(-b)))",
    f: (a: number, b: number) => a * sigmoid(b) * (1 - sigmoid(b)),
  },
  quick_gelu_grad: {
    wgsl: "a * (1.0 / (1.0 + exp(-1.702 * b))) * (1.0 + 1.702 * b * (1.0 - 1.0 / (1.0 + exp(-1.702 * b))))",
    f: (a: number, b: number) => a * sigmoid(1.702 * b) * (1 + 1.702 * b * (1 - sigmoid(1.702 * b))),
  },
  tanh_grad: {
    wgsl: "a * (1.0 - tanh_safe(b) * tanh_safe(b))",
    f: (a: number, b: number) => a * (1 - Math.tanh(b) ** 2),
  },
  gelu_grad: {
    wgsl: "a * (0.5 * (1.0 + erf(b * 0.70710678)) + b * 0.39894228 * exp(-0.5 * b * b))",
    f: (a: number, b: number) =>
      a * (0.5 * (1 + erf(b / Math.SQRT2)) + (b * Math.exp(-0.5 * b * b)) / Math.sqrt(2 * Math.PI)),
  },
  gelu_tanh_grad: {
    wgsl: `a * (0.5 * (1.0 + tanh_safe(0.79788456 * (b + 0.044715 * b * b * b)))
      + 0.5 * b * (1.0 - tanh_safe(0.79788456 * (b + 0.044715 * b * b * b)) * tanh_safe(0.79788456 * (b + 0.044715 * b * b * b)))
      * 0.79788456 * (1.0 + 3.0 * 0.044715 * b * b))`,
    f: (a: number, b: number) =>
      a * (0.5 * (1 + innerTanh(b)) + 0.5 * b * (1 - innerTanh(b) ** 2) * SQRT_2_PI * (1 + 3 * 0.044715 * b * b)),
  },
} as const;
export type BinaryName = keyof typeof binaryFunctions;

/** a, b, y: [count]. `wide`: four elements a thread; count must be a multiple of 4. */
export const binary = defineKernel<{ fn: BinaryName; wide: boolean }, "count", "a" | "b" | "y">({
  name: "binary",
  dims: { count: "u32" },
  bindings: ({ wide }) => ({
    a: { type: elementsOf(wide), access: "read" },
    b: { type: elementsOf(wide), access: "read" },
    y: { type: elementsOf(wide), access: "read_write" },
  }),
  wgsl: ({ fn, wide }) => `${ERF_WGSL}
fn f(a: f32, b: f32) -> f32 { return ${binaryFunctions[fn].wgsl}; }
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count${wide ? " / 4u" : ""}) { return; }
  let a = a[i];
  let b = b[i];
  y[i] = ${wide ? "vec4f(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w))" : "f(a, b)"};
}`,
  grid: ({ count }, { wide }) => grid1d(wide ? count / 4 : count),
  sizes: ({ count }) => ({ a: count, b: count, y: count }),
  reference({ a, b, y }, { count }, { fn }) {
    for (let i = 0; i < count; i++) y[i] = binaryFunctions[fn].f(a[i]!, b[i]!);
  },
  cost: ({ count }) => ({ flops: 4 * count, bytes: 12 * count }),
  atScale: { statics: { fn: "mul", wide: true }, dims: { count: 512 * 2816 } },
  cases: [
    ...(Object.keys(binaryFunctions) as BinaryName[]).flatMap((fn) =>
      [WORKGROUP + 1, 4 * WORKGROUP + 4].map((count) => ({
        name: `${fn} ${count}`,
        statics: { fn, wide: isWide(count) },
        dims: { count },
        fill: { a: (i: number) => (i % 17) / 4 - 2, b: (i: number) => ((i * 7) % 41) / 5 - 4 },
      })),
    ),
    { name: "add 1", statics: { fn: "add", wide: false }, dims: { count: 1 } },
    { name: "swiglu 512x688", statics: { fn: "swiglu", wide: true }, dims: { count: 512 * 688 } },
  ],
});
