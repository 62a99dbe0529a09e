/** The log-probability of given tokens under rows of logits, and the token that greedy decoding would have taken. */
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS, topAndSum } from "../row.ts";
import { ids, read } from "./_bindings.ts";

/**
 * logprobs[t] = ln softmax(logits[rows[t]])[targets[t]]; best[t] = the first index of the highest logit of that row, -1 where the row holds a NaN (its logprobs are 0). A
 * row may have any number of targets. A target with a negative row gives 0 and -1. The sums are those of `sample`, so a token's log-probability is the same float from both.
 * logits: [rowCount, columns], columns < 2^24; rows, targets, logprobs, best: [count].
 */
export const targetLogprob = defineKernel<
  Record<never, never>,
  "count" | "rowCount" | "columns",
  "logits" | "rows" | "targets" | "logprobs" | "best"
>({
  name: "target_logprob",
  dims: { count: "u32", rowCount: "u32", columns: "u32" },
  bindings: () => ({
    logits: read,
    rows: ids,
    targets: ids,
    logprobs: { type: "f32", access: "read_write" },
    best: { type: "i32", access: "read_write" },
  }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let at = workgroup_index(group, groups);
  if (at >= dims.count) { return; }
  let row = rows[at];
  if (row < 0 || row >= i32(dims.rowCount)) {
    if (lane == 0u) { logprobs[at] = 0.0; best[at] = -1; }
    return;
  }
  let base = u32(row) * dims.columns;
  let each = (dims.columns + ${lanes - 1}u) / ${lanes}u;
  let begin = base + min(lane * each, dims.columns);
  let end = base + min((lane + 1u) * each, dims.columns);
  var top = -3.4e38;
  var first = dims.columns;
  for (var i = begin; i < end; i++) {
    let x = logits[i];
    if (x > top) { top = x; first = i - base; }
  }
  let highest = max_lanes(lane, top);
  let winner = -max_lanes(lane, -f32(select(dims.columns, first, top == highest)));
  var sum = 0.0;
  for (var i = begin; i < end; i++) { sum += exp(logits[i] - highest); }
  let lse = highest + log(sum_lanes(lane, sum));
  if (lane == 0u) {
    // By its bits: compilers may take a NaN for impossible.
    let is_number = (bitcast<u32>(lse) & 0x7fffffffu) <= 0x7f800000u;
    let logit = logits[base + u32(clamp(targets[at], 0, i32(dims.columns) - 1))];
    logprobs[at] = select(0.0, logit - lse, is_number);
    best[at] = select(-1, i32(winner), is_number);
  }
}`;
  },
  grid: ({ count }) => count,
  sizes: ({ count, rowCount, columns }) => ({
    logits: rowCount * columns,
    rows: count,
    targets: count,
    logprobs: count,
    best: count,
  }),
  reference({ logits, rows, targets, logprobs, best }, { count, rowCount, columns }) {
    for (let t = 0; t < count; t++) {
      const row = rows[t]!;
      logprobs[t] = 0;
      best[t] = -1;
      if (row < 0 || row >= rowCount) continue;
      const own = logits.subarray(row * columns, (row + 1) * columns);
      if (own.some(Number.isNaN)) continue;
      const { top, sum } = topAndSum(own);
      logprobs[t] = own[targets[t]!]! - top - Math.log(sum);
      best[t] = own.indexOf(top);
    }
  },
  cost: ({ count, columns }) => ({ flops: 4 * count * columns, bytes: 4 * count * columns }),
  atScale: {
    statics: {},
    dims: { count: 256, rowCount: 128, columns: 32_000 },
    fill: { rows: (i) => i >> 1, targets: (i) => 7 * i },
  },
  cases: [
    { name: "one column", statics: {}, dims: { count: 3, rowCount: 2, columns: 1 }, fill: { rows: (i) => i % 2 } },
    {
      name: "several targets of one row, the first of equals, unused targets",
      statics: {},
      dims: { count: 40, rowCount: 7, columns: 301 },
      fill: {
        // Few distinct values, so that there are equals.
        logits: (i) => (((i * 7919) % 613) - 306) / 90,
        rows: (i) => (i % 9) - 1,
        targets: (i) => (i * 31) % 301,
      },
    },
    {
      name: "entries that cannot be",
      statics: {},
      dims: { count: 6, rowCount: 3, columns: 131 },
      fill: {
        logits: (i) => (i % 7 === 3 ? Number.NEGATIVE_INFINITY : ((i * 37) % 101) / 30),
        rows: (i) => i % 3,
        targets: (i) => 20 * i,
      },
    },
    {
      name: "a row with a NaN",
      statics: {},
      dims: { count: 4, rowCount: 2, columns: 30 },
      fill: {
        logits: (i) => (i === 33 ? Number.NaN : (i * 37) % 11),
        rows: (i) => i % 2,
        targets: (i) => 3 * i,
      },
    },
  ],
});
