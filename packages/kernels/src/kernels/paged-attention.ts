/** Attention against a paged key-value cache (Kwon et al. 2023, arXiv:2309.06180): any mixture of prompt chunks and single tokens, one row each. */
import type { Capabilities } from "../device.ts";
import { elementsOf, grid1d, isWide, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { ids, read, write } from "./_bindings.ts";

/** cache[slot] = x[row] where slots[row] >= 0. x: [rows, columns]; slots: [rows]; cache: [slots, columns]. */
export const cacheWrite = defineKernel<Record<never, never>, "rows" | "columns" | "slotCount", "x" | "slots" | "cache">(
  {
    name: "cache_write",
    dims: { rows: "u32", columns: "u32", slotCount: "u32" },
    bindings: () => ({ x: read, slots: ids, cache: write }),
    wgsl: () => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.rows * dims.columns) { return; }
  let slot = slots[i / dims.columns];
  if (slot < 0 || slot >= i32(dims.slotCount)) { return; }
  cache[u32(slot) * dims.columns + i % dims.columns] = x[i];
}`,
    grid: ({ rows, columns }) => grid1d(rows * columns),
    sizes: ({ rows, columns, slotCount }) => ({ x: rows * columns, slots: rows, cache: slotCount * columns }),
    reference({ x, slots, cache }, { rows, columns, slotCount }) {
      for (let r = 0; r < rows; r++) {
        const slot = slots[r]!;
        if (slot < 0 || slot >= slotCount) continue;
        for (let c = 0; c < columns; c++) cache[slot * columns + c] = x[r * columns + c]!;
      }
    },
    cost: ({ rows, columns }) => ({ flops: 0, bytes: 8 * rows * columns }),
    atScale: { statics: {}, dims: { rows: 32, columns: 512, slotCount: 4096 }, fill: { slots: (i) => 128 * i } },
    cases: [
      {
        name: "with skipped rows",
        statics: {},
        dims: { rows: 4, columns: 20, slotCount: 9 },
        fill: { slots: (i) => [7, -1, 0, 4][i]! },
      },
    ],
  },
);

/** Quads of query that a shader on a CPU driver has as variables: beyond it compiles slowly. */
const MAX_VARIABLES = 32;

/** Heads of one workgroup: those that share their keys, where they fit into variables. */
function headsTogether({ headDim, group }: { headDim: number; group: number }, { isSoftware }: Capabilities): number {
  const width = isWide(headDim) ? headDim / 4 : headDim;
  return isSoftware && group * width <= MAX_VARIABLES ? group : 1;
}

/**
 * out[r] = softmax(scale q[r] k^T) v over positions 0 .. positions[r] of the row's sequence; rows with a negative position give 0.
 * q, out: [rows, heads, headDim]; kCache, vCache: [pages * pageSize, kvHeads, headDim]; pages: [sequences, maxPages], page of each pageSize positions;
 * sequences, positions: [rows]. group: heads / kvHeads. window: keys seen, itself included; 0: all. alibi: scores lose slopes[head] times the distance; slopes: [heads].
 */
export const pagedAttention = defineKernel<
  { headDim: number; window: number; pageSize: number; alibi: boolean; group: number },
  "rows" | "heads" | "kvHeads" | "maxPages" | "sequenceCount" | "slotCount" | "scale",
  "q" | "kCache" | "vCache" | "pages" | "sequences" | "positions" | "slopes" | "out"
>({
  name: "paged_attention",
  dims: {
    rows: "u32",
    heads: "u32",
    kvHeads: "u32",
    maxPages: "u32",
    sequenceCount: "u32",
    slotCount: "u32",
    scale: "f32",
  },
  bindings({ headDim, alibi }) {
    const type = elementsOf(isWide(headDim));
    const [values, results] = [
      { ...read, type },
      { ...write, type },
    ];
    return {
      q: values,
      kCache: values,
      vCache: values,
      pages: ids,
      sequences: ids,
      positions: ids,
      ...((alibi ? { slopes: read } : {}) as { slopes: typeof read }),
      out: results,
    };
  },
  wgsl(statics, capabilities) {
    const { headDim, window, pageSize, alibi } = statics;
    const lanes = capabilities.isSoftware ? 8 : 32;
    // Heads are read four columns at a time where they are made of whole quads.
    const wide = isWide(headDim);
    const [type, zero] = wide ? ["vec4f", "vec4f()"] : ["f32", "0.0"];
    const width = wide ? headDim / 4 : headDim;
    // A CPU driver loads lane by lane, from workgroup memory too: there query and sums are variables, and keys are loaded once for all heads that share them.
    const inVariables = capabilities.isSoftware && width <= MAX_VARIABLES;
    const together = headsTogether(statics, capabilities);
    const heads = Array.from({ length: together }, (_, h) => h);
    const each = (text: (d: string) => string): string =>
      inVariables
        ? Array.from({ length: width }, (_, d) => text(`${d}`)).join("\n    ")
        : `for (var d = 0u; d < ${width}u; d++) { ${text("d")} }`;
    const all = (text: (h: number) => string): string => heads.map(text).join("\n    ");
    const queryAt = (h: number, d: string) => (inVariables ? `query_${h}_${d}` : `query[${d}]`);
    const sumAt = (h: number, d: string) => (inVariables ? `sum_${h}_${d}` : `sums[lane * ${width}u + ${d}]`);
    const placeOf = (h: number, d: string) => `sums[(lane * ${together}u + ${h}u) * ${width}u + ${d}]`;
    return `
var<workgroup> query: array<${type}, ${together * width}>;
var<workgroup> tops: array<f32, ${lanes * together}>;
var<workgroup> totals: array<f32, ${lanes * together}>;
var<workgroup> sums: array<${type}, ${lanes * together * width}>;
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let index = workgroup_index(group, groups);
  if (index >= dims.rows * dims.heads / ${together}u) { return; }
  let row = index / (dims.heads / ${together}u);
  let head = index % (dims.heads / ${together}u) * ${together}u;
  let kv_head = head / (dims.heads / dims.kvHeads);
  let position = positions[row];
  let sequence = u32(max(sequences[row], 0));
  for (var d = lane; d < ${together * width}u; d += ${lanes}u) {
    query[d] = q[index * ${together * width}u + d] * dims.scale;
  }
  workgroupBarrier();
  ${
    inVariables
      ? all((h) => each((d) => `let query_${h}_${d} = query[${h * width}u + ${d}]; var sum_${h}_${d} = ${zero};`))
      : each((d) => `${sumAt(0, d)} = ${zero};`)
  }
  ${all((h) => `var top_${h} = -1e30; var total_${h} = 0.0;`)}
  let first = ${window > 0 ? `max(position - ${window - 1}, 0)` : "0"};
  for (var j = first + i32(lane); j <= position; j += ${lanes}) {
    let page = pages[sequence * dims.maxPages + u32(j) / ${pageSize}u];
    let at = ((u32(page) * ${pageSize}u + u32(j) % ${pageSize}u) * dims.kvHeads + kv_head) * ${width}u;
    ${all((h) => `var score_${h} = 0.0;`)}
    ${each((d) => `let key_${inVariables ? d : "d"} = kCache[at + ${d}];\n    ${all((h) => (wide ? `score_${h} += dot(${queryAt(h, d)}, key_${inVariables ? d : "d"});` : `score_${h} = fma(${queryAt(h, d)}, key_${inVariables ? d : "d"}, score_${h});`))}`)}
    ${alibi ? all((h) => `score_${h} += slopes[head + ${h}u] * f32(j - position);`) : ""}
    ${all(
      (h) => `let next_${h} = max(top_${h}, score_${h});
    let keep_${h} = exp(top_${h} - next_${h});
    let p_${h} = exp(score_${h} - next_${h});
    top_${h} = next_${h};
    total_${h} = total_${h} * keep_${h} + p_${h};`,
    )}
    ${each((d) => `let value_${inVariables ? d : "d"} = vCache[at + ${d}];\n    ${all((h) => `${sumAt(h, d)} = ${sumAt(h, d)} * keep_${h} + p_${h} * value_${inVariables ? d : "d"};`)}`)}
  }
  ${inVariables ? all((h) => each((d) => `${placeOf(h, d)} = sum_${h}_${d};`)) : ""}
  ${all((h) => `tops[lane * ${together}u + ${h}u] = top_${h}; totals[lane * ${together}u + ${h}u] = total_${h};`)}
  workgroupBarrier();
  for (var h = 0u; h < ${together}u; h++) {
    var best = -1e30;
    for (var n = 0u; n < ${lanes}u; n++) { best = max(best, tops[n * ${together}u + h]); }
    var all = 0.0;
    for (var n = 0u; n < ${lanes}u; n++) { all += totals[n * ${together}u + h] * exp(tops[n * ${together}u + h] - best); }
    for (var d = lane; d < ${width}u; d += ${lanes}u) {
      var sum = ${zero};
      for (var n = 0u; n < ${lanes}u; n++) {
        sum += sums[(n * ${together}u + h) * ${width}u + d] * exp(tops[n * ${together}u + h] - best);
      }
      out[(index * ${together}u + h) * ${width}u + d] = select(${zero}, sum / all, all > 0.0);
    }
  }
}`;
  },
  grid: ({ rows, heads }, statics, capabilities) => (rows * heads) / headsTogether(statics, capabilities),
  sizes: ({ rows, heads, kvHeads, maxPages, sequenceCount, slotCount }, { headDim }) => ({
    q: rows * heads * headDim,
    kCache: slotCount * kvHeads * headDim,
    vCache: slotCount * kvHeads * headDim,
    pages: sequenceCount * maxPages,
    sequences: rows,
    positions: rows,
    slopes: heads,
    out: rows * heads * headDim,
  }),
  reference(
    { q, kCache, vCache, pages, sequences, positions, slopes, out },
    { rows, heads, kvHeads, maxPages, scale },
    { headDim, window, pageSize, alibi },
  ) {
    for (let r = 0; r < rows; r++) {
      const position = positions[r]!;
      for (let h = 0; h < heads; h++) {
        const qAt = (r * heads + h) * headDim;
        const first = window > 0 ? Math.max(position - window + 1, 0) : 0;
        const keys: { at: number; score: number }[] = [];
        for (let j = first; j <= position; j++) {
          const page = pages[sequences[r]! * maxPages + Math.floor(j / pageSize)]!;
          const at = ((page * pageSize + (j % pageSize)) * kvHeads + Math.floor(h / (heads / kvHeads))) * headDim;
          let score = alibi ? slopes[h]! * (j - position) : 0;
          for (let d = 0; d < headDim; d++) score += scale * q[qAt + d]! * kCache[at + d]!;
          keys.push({ at, score });
        }
        const top = Math.max(...keys.map((key) => key.score));
        const total = keys.reduce((sum, key) => sum + Math.exp(key.score - top), 0);
        for (let d = 0; d < headDim; d++) {
          out[qAt + d] = keys.reduce((sum, key) => sum + (Math.exp(key.score - top) / total) * vCache[key.at + d]!, 0);
        }
      }
    }
  },
  cost: ({ rows, heads, maxPages }, { headDim, pageSize }) => ({
    flops: 4 * rows * heads * headDim * maxPages * pageSize,
    bytes: 8 * rows * heads * headDim * maxPages * pageSize,
  }),
  atScale: {
    statics: { headDim: 64, window: 0, pageSize: 16, alibi: false, group: 2 },
    dims: { rows: 32, heads: 16, kvHeads: 8, maxPages: 32, sequenceCount: 32, slotCount: 16_384, scale: 0.125 },
    fill: { pages: (i) => i, sequences: (i) => i, positions: () => 400 },
  },
  cases: [
    {
      name: "two sequences, one row unused",
      statics: { headDim: 6, window: 0, pageSize: 4, alibi: false, group: 2 },
      dims: { rows: 5, heads: 4, kvHeads: 2, maxPages: 4, sequenceCount: 2, slotCount: 24, scale: 0.4 },
      fill: {
        pages: (i) => [3, 0, 5, -1, 1, 4, -1, -1][i]!,
        sequences: (i) => [0, 0, 1, 1, -1][i]!,
        positions: (i) => [10, 11, 0, 5, -1][i]!,
      },
    },
    {
      name: "two sequences, heads of whole quads",
      statics: { headDim: 8, window: 0, pageSize: 4, alibi: false, group: 2 },
      dims: { rows: 5, heads: 4, kvHeads: 2, maxPages: 4, sequenceCount: 2, slotCount: 24, scale: 0.4 },
      fill: {
        pages: (i) => [3, 0, 5, -1, 1, 4, -1, -1][i]!,
        sequences: (i) => [0, 0, 1, 1, -1][i]!,
        positions: (i) => [10, 11, 0, 5, -1][i]!,
      },
    },
    {
      name: "window",
      statics: { headDim: 8, window: 3, pageSize: 4, alibi: false, group: 1 },
      dims: { rows: 2, heads: 1, kvHeads: 1, maxPages: 3, sequenceCount: 1, slotCount: 12, scale: 0.3 },
      fill: { pages: (i) => [2, 0, 1][i]!, positions: (i) => [9, 1][i]! },
    },
    {
      name: "alibi, heads that share keys",
      statics: { headDim: 8, window: 4, pageSize: 4, alibi: true, group: 4 },
      dims: { rows: 3, heads: 8, kvHeads: 2, maxPages: 3, sequenceCount: 1, slotCount: 12, scale: 0.3 },
      fill: { pages: (i) => [2, 0, 1][i]!, positions: (i) => [9, 1, -1][i]!, slopes: (i) => 0.5 ** (i + 1) },
    },
    {
      name: "alibi",
      statics: { headDim: 6, window: 0, pageSize: 4, alibi: true, group: 1 },
      dims: { rows: 2, heads: 3, kvHeads: 3, maxPages: 3, sequenceCount: 1, slotCount: 12, scale: 0.3 },
      fill: { pages: (i) => [2, 0, 1][i]!, positions: (i) => [9, 1][i]!, slopes: (i) => 0.5 ** (i + 1) },
    },
  ],
});
