/** Matrix product with one subgroup per tile: no workgroup memory, no barrier. */
import type { Capabilities } from "../device.ts";

export interface SubgroupTile {
  readonly rows: number;
  /** Columns of each lane; with `wide` and b as [k, n] a multiple of 4. */
  readonly columns: number;
  /** Steps of k in one turn of the loop; at most the subgroup size; with `wide` and b as [n, k] a multiple of 4. */
  readonly depth: number;
  /** b is read four elements at a time: along k from [n, k], along n from [k, n]. */
  readonly wide: boolean;
  /** k is a multiple of `depth`. */
  readonly alignedK: boolean;
  readonly transA: boolean;
  readonly transB: boolean;
}

const each = <T>(n: number, f: (i: number) => T): T[] => Array.from({ length: n }, (_, i) => f(i));

/**
 * Each lane owns `columns` columns of `rows` rows. For every `depth` steps of k the lanes share the loads of a (a lane has one row and one k) and
 * hand them round by broadcast, so that a is loaded once per tile and b once per `rows`.
 * Loads, not arithmetic, are what a CPU driver pays for, and code that outgrows the instruction cache (docs/kernels.md). Indexes are clamped, never
 * branched on: control flow stays uniform. The sum of an element runs in the order of k whatever the tile.
 */
export function subgroupText(tile: SubgroupTile, capabilities: Capabilities): string {
  const { rows, depth, alignedK } = tile;
  const size = capabilities.subgroupMinSize;
  const a = loadsOfA(tile, size);
  const b = tile.wide ? (tile.transB ? wideAlongK(tile, size) : wideAlongN(tile, size)) : narrow(tile, size);
  return `enable subgroups;
@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tiles_n = (dims.n + ${size * tile.columns - 1}u) / ${size * tile.columns}u;
  let tile = workgroup_index(group, groups);
  let row = (tile / tiles_n) * ${rows}u;
  if (row >= dims.m) { return; }
  let col = (tile % tiles_n) * ${size * tile.columns}u;
  ${alignedK ? "" : "let last = dims.k - 1u;"}
  ${a.before}
  ${b.before}
  for (var k0 = 0u; k0 < dims.k; k0 += ${depth}u) {
    ${a.loads}
    ${each(depth, (step) => `${b.load(step)} ${each(rows, (r) => `let a${r}_${step} = ${a.at(r, step)}; ${b.sum(r, step)}`).join(" ")}`).join("\n    ")}
    ${b.after}
  }
  ${each(rows, b.store).join("\n  ")}
}
`;
}

/** One load serves `share` rows: lane = (row of the share, step of k). */
function loadsOfA({ rows, depth, alignedK, transA }: SubgroupTile, size: number) {
  const share = Math.min(rows, size / depth);
  const kOfLane = alignedK ? "k0 + lane_k" : "min(k0 + lane_k, last)";
  const load = (g: number): string => {
    const value = `a[${transA ? `(${kOfLane}) * dims.aColumns + a_at${g}` : `a_at${g} + ${kOfLane}`}]`;
    return `let a${g} = ${alignedK ? value : `select(0.0, ${value}, k0 + lane_k < dims.k)`};`;
  };
  const stride = transA ? "" : " * dims.aColumns";
  return {
    before: [
      `let lane_k = lane % ${depth}u;`,
      ...each(
        rows / share,
        (g) =>
          `let a_at${g} = min(row + ${g * share}u + (lane / ${depth}u) % ${share}u, dims.m - 1u)${stride} + dims.aOffset;`,
      ),
    ].join("\n  "),
    loads: each(rows / share, load).join("\n    "),
    at: (r: number, step: number) => `subgroupBroadcast(a${Math.floor(r / share)}, ${(r % share) * depth + step}u)`,
  };
}

interface LoadsOfB {
  readonly before: string;
  readonly load: (step: number) => string;
  readonly sum: (row: number, step: number) => string;
  readonly after: string;
  readonly store: (row: number) => string;
}

/** Element by element; the columns of a lane are a subgroup apart. */
function narrow({ rows, columns, depth, transB, alignedK }: SubgroupTile, size: number): LoadsOfB {
  const at = (step: number, c: number): string => {
    if (alignedK) return transB ? `b_at${c} + ${step}u` : `b_at${c} + ${step}u * dims.n`;
    const k = `min(k0 + ${step}u, last)`;
    return transB ? `b_at${c} + ${k}` : `${k} * dims.n + b_at${c}`;
  };
  return {
    before: [
      ...each(
        columns,
        (c) => `var b_at${c} = min(col + ${c * size}u + lane, dims.n - 1u)${transB ? " * dims.k" : ""};`,
      ),
      ...each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")),
    ].join("\n  "),
    load: (step) => each(columns, (c) => `let b${step}_${c} = at_b(${at(step, c)});`).join(" "),
    sum: (r, step) => each(columns, (c) => `s${r}_${c} = fma(a${r}_${step}, b${step}_${c}, s${r}_${c});`).join(" "),
    after: alignedK ? each(columns, (c) => `b_at${c} += ${depth}u${transB ? "" : " * dims.n"};`).join(" ") : "",
    store: (r) => each(columns, (c) => `store(row + ${r}u, col + ${c * size}u + lane, s${r}_${c});`).join(" "),
  };
}

/** b as [n, k], k a multiple of 4: a load is four steps of one column. */
function wideAlongK({ rows, columns, depth, alignedK }: SubgroupTile, size: number): LoadsOfB {
  const at = (quad: number, c: number) =>
    alignedK ? `b_at${c} + ${quad}u` : `b_at${c} + min(k0 / 4u + ${quad}u, last / 4u)`;
  return {
    before: [
      ...each(columns, (c) => `var b_at${c} = min(col + ${c * size}u + lane, dims.n - 1u) * (dims.k / 4u);`),
      ...each(rows, (r) => each(columns, (c) => `var s${r}_${c} = 0.0;`).join(" ")),
    ].join("\n  "),
    load: (step) =>
      step % 4 === 0 ? each(columns, (c) => `let b${step / 4}_${c} = at_b4(${at(step / 4, c)});`).join(" ") : "",
    sum: (r, step) =>
      each(
        columns,
        (c) => `s${r}_${c} = fma(a${r}_${step}, b${Math.floor(step / 4)}_${c}[${step % 4}], s${r}_${c});`,
      ).join(" "),
    after: alignedK ? each(columns, (c) => `b_at${c} += ${depth / 4}u;`).join(" ") : "",
    store: (r) => each(columns, (c) => `store(row + ${r}u, col + ${c * size}u + lane, s${r}_${c});`).join(" "),
  };
}

/** b as [k, n], n a multiple of 4: a load is four columns of one step. */
function wideAlongN({ rows, columns, depth, alignedK }: SubgroupTile, size: number): LoadsOfB {
  const quads = columns / 4;
  const at = (step: number, c: number) =>
    alignedK ? `b_at${c} + ${step}u * (dims.n / 4u)` : `min(k0 + ${step}u, last) * (dims.n / 4u) + b_at${c}`;
  return {
    before: [
      ...each(quads, (c) => `var b_at${c} = min(col / 4u + ${c * size}u + lane, dims.n / 4u - 1u);`),
      ...each(rows, (r) => each(quads, (c) => `var s${r}_${c} = vec4f();`).join(" ")),
    ].join("\n  "),
    load: (step) => each(quads, (c) => `let b${step}_${c} = at_b4(${at(step, c)});`).join(" "),
    sum: (r, step) =>
      each(quads, (c) => `s${r}_${c} = fma(vec4f(a${r}_${step}), b${step}_${c}, s${r}_${c});`).join(" "),
    after: alignedK ? each(quads, (c) => `b_at${c} += ${depth}u * (dims.n / 4u);`).join(" ") : "",
    store: (r) =>
      each(quads, (c) =>
        each(4, (j) => `store(row + ${r}u, col + (${c * size}u + lane) * 4u + ${j}u, s${r}_${c}[${j}]);`).join(" "),
      ).join(" "),
  };
}
