/** What an optimizer step does on the device: accumulate, global norm, AdamW. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";

/** Elements that one workgroup of sumSquares reduces. */
export const SUM_CHUNK = 4096;

/** sum = keep[0] * sum + x; keep 0 starts anew whatever was there. sum, x: [count]. */
export const accumulate = defineKernel<Record<never, never>, "count", "x" | "keep" | "sum">({
  name: "accumulate",
  dims: { count: "u32" },
  bindings: () => ({
    x: { type: "f32", access: "read" },
    keep: { type: "f32", access: "read" },
    sum: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count) { return; }
  if (keep[0] == 0.0) { sum[i] = x[i]; } else { sum[i] = keep[0] * sum[i] + x[i]; }
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ x: count, keep: 1, sum: count }),
  reference({ x, keep, sum }, { count }) {
    for (let i = 0; i < count; i++) sum[i] = keep[0] === 0 ? x[i]! : keep[0]! * sum[i]! + x[i]!;
  },
  cost: ({ count }) => ({ flops: 2 * count, bytes: 12 * count }),
  atScale: { statics: {}, dims: { count: 2 ** 20 } },
  cases: [0, 1, 0.5].map((keep) => ({
    name: `keep ${keep}`,
    statics: {},
    dims: { count: 130 },
    fill: { keep: () => keep },
  })),
});

/** parts[offset + i] = sum of squares of chunk i of x. x: [count]. */
export const sumSquares = defineKernel<Record<never, never>, "count" | "offset", "x" | "parts">({
  name: "sum_squares",
  dims: { count: "u32", offset: "u32" },
  bindings: () => ({ x: { type: "f32", access: "read" }, parts: { type: "f32", access: "read_write" } }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let chunk = workgroup_index(group, groups);
  if (chunk * ${SUM_CHUNK}u >= dims.count) { return; }
  var sum = 0.0;
  for (var i = chunk * ${SUM_CHUNK}u + lane; i < min(dims.count, (chunk + 1u) * ${SUM_CHUNK}u); i += ${lanes}u) { sum += x[i] * x[i]; }
  let total = sum_lanes(lane, sum);
  if (lane == 0u) { parts[dims.offset + chunk] = total; }
}`;
  },
  grid: ({ count }) => Math.ceil(count / SUM_CHUNK),
  sizes: ({ count, offset }) => ({ x: count, parts: offset + Math.ceil(count / SUM_CHUNK) }),
  reference({ x, parts }, { count, offset }) {
    for (let chunk = 0; chunk * SUM_CHUNK < count; chunk++) {
      let sum = 0;
      for (let i = chunk * SUM_CHUNK; i < Math.min(count, (chunk + 1) * SUM_CHUNK); i++) sum += x[i]! ** 2;
      parts[offset + chunk] = sum;
    }
  },
  cost: ({ count }) => ({ flops: 2 * count, bytes: 4 * count }),
  atScale: { statics: {}, dims: { count: 2 ** 20, offset: 0 } },
  cases: [
    { name: "one", statics: {}, dims: { count: 1, offset: 0 } },
    {
      name: "two chunks",
      statics: {},
      dims: { count: SUM_CHUNK + 1, offset: 3 },
      fill: { parts: () => 7 },
      tolerance: { atol: 1e-5, rtol: 1e-4 },
    },
  ],
});

/**
 * norm[0] = sqrt(sum of parts); norm[1] = min(1, maxNorm / (norm[0] + 1e-6)), 1 if maxNorm <= 0: torch.nn.utils.clip_grad_norm_. parts: [count].
 */
export const clipFactor = defineKernel<Record<never, never>, "count", "parts" | "maxNorm" | "norm">({
  name: "clip_factor",
  dims: { count: "u32" },
  bindings: () => ({
    parts: { type: "f32", access: "read" },
    maxNorm: { type: "f32", access: "read" },
    norm: { type: "f32", access: "read_write" },
  }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  var sum = 0.0;
  for (var i = lane; i < dims.count; i += ${lanes}u) { sum += parts[i]; }
  let total = sqrt(sum_lanes(lane, sum));
  if (lane == 0u) {
    norm[0] = total;
    norm[1] = select(1.0, min(1.0, maxNorm[0] / (total + 1e-6)), maxNorm[0] > 0.0);
  }
}`;
  },
  grid: () => 1,
  sizes: ({ count }) => ({ parts: count, maxNorm: 1, norm: 2 }),
  reference({ parts, maxNorm, norm }, { count }) {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += parts[i]!;
    norm[0] = Math.sqrt(sum);
    norm[1] = maxNorm[0]! > 0 ? Math.min(1, maxNorm[0]! / (Math.sqrt(sum) + 1e-6)) : 1;
  },
  cost: ({ count }) => ({ flops: count, bytes: 4 * count }),
  atScale: { statics: {}, dims: { count: 1024 } },
  cases: [0, 0.5, 1000].map((maxNorm) => ({
    name: `max ${maxNorm}`,
    statics: {},
    dims: { count: 77 },
    fill: { parts: (i: number) => i / 10, maxNorm: () => maxNorm },
  })),
});

/** Entries of AdamW's `hyper` buffer, computed in double precision on the host. */
export const ADAMW_HYPER = [
  "lr",
  "beta1",
  "beta2",
  "oneMinusBeta1",
  "oneMinusBeta2",
  "eps",
  "weightDecay",
  "bias1",
  "sqrtBias2",
] as const;

/**
 * AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2) in torch's order of operations:
 * g' = clip[1] g; p = p (1 - lr decay wd); m = b1 m + (1 - b1) g'; v = b2 v + (1 - b2) g'^2; p = p - lr / bias1 m / (sqrt(v) / sqrt(bias2) + eps).
 * p, g, m, v: [count]; `decay` is 0 for parameters that are not decayed.
 */
export const adamw = defineKernel<Record<never, never>, "count" | "decay", "g" | "clip" | "hyper" | "p" | "m" | "v">({
  name: "adamw",
  dims: { count: "u32", decay: "f32" },
  bindings: () => ({
    g: { type: "f32", access: "read" },
    clip: { type: "f32", access: "read" },
    hyper: { type: "f32", access: "read" },
    p: { type: "f32", access: "read_write" },
    m: { type: "f32", access: "read_write" },
    v: { type: "f32", access: "read_write" },
  }),
  wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.count) { return; }
  ${ADAMW_HYPER.map((name, i) => `let ${name} = hyper[${i}];`).join(" ")}
  let grad = g[i] * clip[1];
  let moment = beta1 * m[i] + oneMinusBeta1 * grad;
  let second = beta2 * v[i] + oneMinusBeta2 * grad * grad;
  m[i] = moment;
  v[i] = second;
  p[i] = p[i] * (1.0 - lr * dims.decay * weightDecay) - lr / bias1 * moment / (sqrt(second) / sqrtBias2 + eps);
}`,
  grid: ({ count }) => grid1d(count),
  sizes: ({ count }) => ({ g: count, clip: 2, hyper: ADAMW_HYPER.length, p: count, m: count, v: count }),
  reference({ g, clip, hyper, p, m, v }, { count, decay }) {
    const [lr, beta1, beta2, oneMinusBeta1, oneMinusBeta2, eps, weightDecay, bias1, sqrtBias2] = [...hyper] as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    for (let i = 0; i < count; i++) {
      const grad = g[i]! * clip[1]!;
      const moment = beta1 * m[i]! + oneMinusBeta1 * grad;
      const second = beta2 * v[i]! + oneMinusBeta2 * grad * grad;
      m[i] = moment;
      v[i] = second;
      p[i] = p[i]! * (1 - lr * decay * weightDecay) - ((lr / bias1) * moment) / (Math.sqrt(second) / sqrtBias2 + eps);
    }
  },
  cost: ({ count }) => ({ flops: 12 * count, bytes: 28 * count }),
  atScale: { statics: {}, dims: { count: 2 ** 20, decay: 1 } },
  cases: [0, 1].map((decay) => ({
    name: decay ? "with decay" : "without decay",
    statics: {},
    dims: { count: 131, decay },
    fill: {
      clip: (i: number) => [3, 0.7][i]!,
      hyper: (i: number) => [1e-2, 0.9, 0.999, 0.1, 0.001, 1e-8, 0.1, 0.271, 0.0547][i]!,
      v: (i: number) => (i % 7) / 7,
    },
  })),
});
