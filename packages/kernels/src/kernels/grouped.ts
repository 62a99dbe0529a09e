/**
 * Products of rows with a matrix of their own out of a stack, as for rows of one batch that have different adapters (Punica's BGMV: Chen et al. 2023,
 * arXiv:2310.18547).
 */
import { elementsOf, grid1d, WORKGROUP } from "../grid.ts";
import { type Binding, defineKernel } from "../kernel.ts";
import { ids, read, write } from "./_bindings.ts";
import { ERF_WGSL } from "./binary.ts";
import { type UnaryName, unaryFunctions } from "./unary.ts";

const ARGUMENTS =
  "@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) groups_count: vec3u, @builtin(local_invocation_index) lane: u32";

type GroupedBuffers = "x" | "w" | "group" | "residual" | "y";

/**
 * y[r] = f(scale x[r] w[group[r]]) + residual[r], or x[r] w[group[r]]^T with transB; a product of 0 where the group is none of 0 .. groups - 1. x: [rows, k];
 * w: [groups, k, n] or [groups, n, k]; group: [rows]; residual, y: [rows, n]. Sums run in the order of k, as in `matmul`: a row gets the same bits from either.
 * `wide`: with transB, k a multiple of 4.
 */
export const groupedMatmul = defineKernel<
  { transB: boolean; wide: boolean; activation: UnaryName | "none"; hasResidual: boolean },
  "rows" | "n" | "k" | "groups" | "scale",
  GroupedBuffers
>({
  name: "grouped_matmul",
  dims: { rows: "u32", n: "u32", k: "u32", groups: "u32", scale: "f32" },
  bindings: ({ wide, hasResidual }) =>
    ({
      x: { ...read, type: elementsOf(wide) },
      w: { ...read, type: elementsOf(wide) },
      group: ids,
      ...(hasResidual ? { residual: read } : {}),
      y: write,
    }) as Record<GroupedBuffers, Binding>,
  wgsl({ transB, wide, activation, hasResidual }) {
    const f = activation === "none" ? "x" : unaryFunctions[activation].wgsl;
    const result = (sum: string) => `y[at] = f(${sum})${hasResidual ? " + residual[at]" : ""};`;
    const step = wide
      ? `let a = x[row * k + i]; let b = w[begin + i];
    sum = fma(a.x, b.x, sum); sum = fma(a.y, b.y, sum); sum = fma(a.z, b.z, sum); sum = fma(a.w, b.w, sum);`
      : `sum = fma(x[row * k + i], w[begin + ${transB ? "i" : "i * dims.n"}], sum);`;
    return `${ERF_WGSL}
fn f(x: f32) -> f32 { return ${f}; }
@compute @workgroup_size(${WORKGROUP})
fn main(${ARGUMENTS}) {
  let at = workgroup_index(group_id, groups_count) * ${WORKGROUP}u + lane;
  if (at >= dims.rows * dims.n) { return; }
  let row = at / dims.n;
  let column = at % dims.n;
  let own = group[row];
  if (own < 0 || own >= i32(dims.groups)) { ${result("0.0")} return; }
  let k = dims.k${wide ? " / 4u" : ""};
  let begin = ${transB ? "(u32(own) * dims.n + column) * k" : "u32(own) * k * dims.n + column"};
  var sum = 0.0;
  for (var i = 0u; i < k; i++) {
    ${step}
  }
  ${result("sum * dims.scale")}
}`;
  },
  grid: ({ rows, n }) => grid1d(rows * n),
  sizes: ({ rows, n, k, groups }) => ({ x: rows * k, w: groups * n * k, group: rows, residual: rows * n, y: rows * n }),
  reference({ x, w, group, residual, y }, { rows, n, k, groups, scale }, { transB, activation, hasResidual }) {
    const f = activation === "none" ? (value: number) => value : unaryFunctions[activation].f;
    for (let r = 0; r < rows; r++) {
      const own = group[r]!;
      for (let c = 0; c < n; c++) {
        let sum = 0;
        if (own >= 0 && own < groups)
          for (let i = 0; i < k; i++) sum += x[r * k + i]! * w[transB ? (own * n + c) * k + i : (own * k + i) * n + c]!;
        y[r * n + c] = f(scale * sum, 1) + (hasResidual ? residual[r * n + c]! : 0);
      }
    }
  },
  cost: ({ rows, n, k }) => ({ flops: 2 * rows * n * k, bytes: 4 * rows * (n * k + n + k) }),
  atScale: {
    statics: { transB: true, wide: true, activation: "none", hasResidual: false },
    dims: { rows: 32, n: 16, k: 2048, groups: 8, scale: 2 },
    fill: { group: (i) => i % 8 },
  },
  cases: [
    { transB: true, wide: true, activation: "none" as const, hasResidual: false, k: 12 },
    { transB: true, wide: true, activation: "gelu" as const, hasResidual: true, k: 12 },
    { transB: true, wide: false, activation: "sigmoid" as const, hasResidual: false, k: 13 },
    { transB: false, wide: false, activation: "none" as const, hasResidual: true, k: 13 },
  ].map(({ transB, wide, activation, hasResidual, k }) => ({
    name: `${transB ? "wT" : "w"}${wide ? " wide" : ""} ${activation}${hasResidual ? " with a residual" : ""}, rows without a group`,
    statics: { transB, wide, activation, hasResidual },
    dims: { rows: 7, n: 19, k, groups: 3, scale: 0.5 },
    fill: { group: (i: number) => [2, -1, 0, 0, 1, 3, 2][i]! },
  })),
});

/**
 * y[r, c] = x[r, c] + v[group[r], c] or x[r, c] v[group[r], c]; x[r, c] where the group is none of 0 .. groups - 1. x, y: [rows, columns]; v: [groups, columns];
 * group: [rows].
 */
export const groupedColumnwise = defineKernel<
  { fn: "add" | "mul" },
  "rows" | "columns" | "groups",
  "x" | "v" | "group" | "y"
>({
  name: "grouped_columnwise",
  dims: { rows: "u32", columns: "u32", groups: "u32" },
  bindings: () => ({ x: read, v: read, group: ids, y: write }),
  wgsl: ({ fn }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ARGUMENTS}) {
  let at = workgroup_index(group_id, groups_count) * ${WORKGROUP}u + lane;
  if (at >= dims.rows * dims.columns) { return; }
  let own = group[at / dims.columns];
  let inside = own >= 0 && own < i32(dims.groups);
  let own_v = v[u32(select(0, own, inside)) * dims.columns + at % dims.columns];
  y[at] = select(x[at], x[at] ${fn === "add" ? "+" : "*"} own_v, inside);
}`,
  grid: ({ rows, columns }) => grid1d(rows * columns),
  sizes: ({ rows, columns, groups }) => ({ x: rows * columns, v: groups * columns, group: rows, y: rows * columns }),
  reference({ x, v, group, y }, { rows, columns, groups }, { fn }) {
    for (let i = 0; i < rows * columns; i++) {
      const own = group[Math.floor(i / columns)]!;
      const inside = own >= 0 && own < groups;
      const value = inside ? v[own * columns + (i % columns)]! : fn === "add" ? 0 : 1;
      y[i] = fn === "add" ? x[i]! + value : x[i]! * value;
    }
  },
  cost: ({ rows, columns }) => ({ flops: rows * columns, bytes: 12 * rows * columns }),
  atScale: {
    statics: { fn: "mul" },
    dims: { rows: 32, columns: 2048, groups: 8 },
    fill: { group: (i) => i % 8 },
  },
  cases: (["add", "mul"] as const).map((fn) => ({
    name: fn,
    statics: { fn },
    dims: { rows: 5, columns: 21, groups: 2 },
    fill: { group: (i: number) => [1, -1, 0, 2, 1][i]! },
  })),
});
