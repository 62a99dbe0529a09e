/** Text shared by kernels that give one workgroup to each row and reduce over it. */
import type { Capabilities } from "./device.ts";

/** Threads that share one row. Few on a CPU driver, where a barrier costs more than the work it spreads. */
export function lanesPerRow(capabilities: Capabilities): number {
  return capabilities.isSoftware ? 8 : 128;
}

/** `fn sum_lanes(lane, v)` and `fn max_lanes(lane, v)`: reductions over the workgroup in a fixed order, the same value in every lane. Uniform control flow only. */
export function laneReductions(lanes: number): string {
  const reduce = (name: string, combine: string) => `
fn ${name}(lane: u32, v: f32) -> f32 {
  workgroupBarrier();
  lane_values[lane] = v;
  workgroupBarrier();
  for (var half = ${lanes / 2}u; half > 0u; half = half / 2u) {
    if (lane < half) { let a = lane_values[lane]; let b = lane_values[lane + half]; lane_values[lane] = ${combine}; }
    workgroupBarrier();
  }
  return lane_values[0];
}`;
  return `var<workgroup> lane_values: array<f32, ${lanes}>;${reduce("sum_lanes", "a + b")}${reduce("max_lanes", "max(a, b)")}`;
}

/**
 * Declares `top`, the highest entry of a row, and `sum`, that of exp(x - top) over it, the same in every lane. The row is `name`[begin .. begin + dims.columns); needs laneReductions.
 */
export function rowTopAndSum(name: string, lanes: number): string {
  return `var top = -3.4e38;
  for (var c = lane; c < dims.columns; c += ${lanes}u) { top = max(top, ${name}[begin + c]); }
  top = max_lanes(lane, top);
  var sum = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) { sum += exp(${name}[begin + c] - top); }
  sum = sum_lanes(lane, sum);`;
}

/** The same on the host. */
export function topAndSum(row: ArrayLike<number>): { readonly top: number; readonly sum: number } {
  let top = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < row.length; c++) top = Math.max(top, row[c]!);
  let sum = 0;
  for (let c = 0; c < row.length; c++) sum += Math.exp(row[c]! - top);
  return { top, sum };
}

export const ROW_MAIN_ARGUMENTS =
  "@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32";
