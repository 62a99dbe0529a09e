/** Matrix product with one subgroup per tile: no workgroup memory, no barrier. */
import type { Capabilities } from "../device.ts";

/**
 * Each lane owns `columns` columns (one subgroup size apart) of `rows` rows. For every subgroup-size of k steps a lane loads one element of each
 * row of a (lane = k) and hands it round by broadcast, so that a is loaded once per tile and b once per `rows`.
 * Loads, not arithmetic, are what a CPU driver pays for (docs/kernels.md). Indexes are clamped, never branched on: control flow stays uniform.
 */
export function subgroupText(
  { rows, columns, transA, transB, alignedK }: SubgroupTile,
  capabilities: Capabilities,
): string {
  const size = capabilities.subgroupMinSize;
  const each = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));
  const accumulators = each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")).join("\n  ");
  // Whole steps need neither clamp nor select: one load and its sums are all that is left in the loop.
  const kOfLane = alignedK ? "k0 + lane" : "min(k0 + lane, last)";
  const kOfStep = (step: number) => (alignedK ? `k0 + ${step}u` : `min(k0 + ${step}u, last)`);
  const loadA = (r: number) => {
    const value = `a[${transA ? `(${kOfLane}) * dims.aColumns + a_at${r}` : `a_at${r} + ${kOfLane}`}]`;
    return `let a${r} = ${alignedK ? value : `select(0.0, ${value}, k0 + lane < dims.k)`};`;
  };
  const loadB = (step: number, c: number) =>
    `let b${step}_${c} = at_b(${transB ? `b_at${c} + ${kOfStep(step)}` : `(${kOfStep(step)}) * dims.n + b_at${c}`});`;
  const steps = each(size, (step) => {
    const sums = each(rows, (r) => {
      const a = `let a${step}_${r} = subgroupBroadcast(a${r}, ${step}u);`;
      return `${a} ${each(columns, (c) => `s${r}_${c} = fma(a${step}_${r}, b${step}_${c}, s${r}_${c});`).join(" ")}`;
    }).join("\n    ");
    return `${each(columns, (c) => loadB(step, c)).join(" ")}\n    ${sums}`;
  }).join("\n    ");
  return `enable subgroups;
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tiles_n = (dims.n + ${size * columns - 1}u) / ${size * columns}u;
  let tile = workgroup_index(group, groups);
  let row = (tile / tiles_n) * ${rows}u;
  if (row >= dims.m) { return; }
  let col = (tile % tiles_n) * ${size * columns}u + lane;
  let last = dims.k - 1u;
  ${each(columns, (c) => `let b_at${c} = min(col + ${c * size}u, dims.n - 1u)${transB ? " * dims.k" : ""};`).join("\n  ")}
  ${each(rows, (r) => `let a_at${r} = min(row + ${r}u, dims.m - 1u)${transA ? "" : " * dims.aColumns"} + dims.aOffset;`).join("\n  ")}
  ${accumulators}
  for (var k0 = 0u; k0 < dims.k; k0 += ${size}u) {
    ${each(rows, loadA).join("\n    ")}
    ${steps}
  }
  ${each(rows, (r) => each(columns, (c) => `store(row + ${r}u, col + ${c * size}u, s${r}_${c});`).join(" ")).join("\n  ")}
}
`;
}

interface SubgroupTile {
  readonly rows: number;
  readonly columns: number;
  readonly transA: boolean;
  readonly transB: boolean;
  /** k is a multiple of the subgroup size. */
  readonly alignedK: boolean;
}
