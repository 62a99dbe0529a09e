/** Matrix product with one subgroup per tile: no workgroup memory, no barrier. */
import type { Capabilities } from "../device.ts";

/**
 * Each lane owns `columns` columns (one subgroup size apart) of `rows` rows. For every subgroup-size of k steps a lane loads one element of each
 * row of a (lane = k) and hands it round by broadcast, so that a is loaded once per tile and b once per `rows`.
 * Loads, not arithmetic, are what a CPU driver pays for (docs/kernels.md). Indexes are clamped, never branched on: control flow stays uniform.
 */
export function subgroupText(
  { rows, columns }: { readonly rows: number; readonly columns: number },
  capabilities: Capabilities,
): string {
  const size = capabilities.subgroupMinSize;
  const each = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));
  const accumulators = each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")).join("\n  ");
  const steps = each(size, (step) => {
    const loads = each(columns, (c) => `let b${step}_${c} = at_b(index_b(min(k0 + ${step}u, last), col${c}));`).join(
      " ",
    );
    const sums = each(rows, (r) => {
      const a = `let a${step}_${r} = subgroupBroadcast(a${r}, ${step}u);`;
      return `${a} ${each(columns, (c) => `s${r}_${c} = fma(a${step}_${r}, b${step}_${c}, s${r}_${c});`).join(" ")}`;
    }).join("\n    ");
    return `${loads}\n    ${sums}`;
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
  ${each(columns, (c) => `let col${c} = min(col + ${c * size}u, dims.n - 1u);`).join("\n  ")}
  ${each(rows, (r) => `let row${r} = min(row + ${r}u, dims.m - 1u);`).join("\n  ")}
  ${accumulators}
  for (var k0 = 0u; k0 < dims.k; k0 += ${size}u) {
    let k = k0 + lane;
    ${each(rows, (r) => `let a${r} = select(0.0, a[index_a(row${r}, min(k, last))], k < dims.k);`).join("\n    ")}
    ${steps}
  }
  ${each(rows, (r) => each(columns, (c) => `store(row + ${r}u, col + ${c * size}u, s${r}_${c});`).join(" ")).join("\n  ")}
}
`;
}
