/** The next token of each row of logits: greedy, or drawn with temperature, top-k and top-p. */
import { defineKernel, type HostArray } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";

/** Numbers of one row in `options`: temperature (0: greedy), k (0: all), p (1: all), and the uniform draw u in [0, 1). */
export const SAMPLE_OPTIONS = 4;

/**
 * ids[r] = the first index of the highest logit, or, with temperature t > 0, an index drawn with probability softmax(logits / t) over what is kept: the k highest and
 * all equal to the k-th (Fan et al. 2018, arXiv:1805.04833), and of these what is above the lowest entries whose probability adds up to 1 - p (Holtzman et al. 2019,
 * arXiv:1904.09751), at least one. The draw is u of the way through the kept probability, in the order of the indexes.
 * logprobs[r] = ln softmax(logits)[ids[r]], of the unmodified logits.
 * A row that holds a NaN gives -1.
 * logits: [rows, columns], columns < 2^24; options: [rows, SAMPLE_OPTIONS]; ids, logprobs: [rows].
 */
export const sample = defineKernel<Record<never, never>, "rows" | "columns", "logits" | "options" | "ids" | "logprobs">(
  {
    name: "sample",
    dims: { rows: "u32", columns: "u32" },
    bindings: () => ({
      logits: { type: "f32", access: "read" },
      options: { type: "f32", access: "read" },
      ids: { type: "i32", access: "read_write" },
      logprobs: { type: "f32", access: "read_write" },
    }),
    // Thresholds are found bit by bit over a key that orders as the floats do: 32 passes over a row that stays in the cache, and no sorting.
    wgsl(_, capabilities) {
      const lanes = lanesPerRow(capabilities);
      return `${laneReductions(lanes)}
var<workgroup> lane_mass: array<f32, ${lanes}>;
fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let temperature = options[row * ${SAMPLE_OPTIONS}u];
  let k = u32(options[row * ${SAMPLE_OPTIONS}u + 1u]);
  let p = options[row * ${SAMPLE_OPTIONS}u + 2u];
  let u = options[row * ${SAMPLE_OPTIONS}u + 3u];
  let each = (dims.columns + ${lanes - 1}u) / ${lanes}u;
  let begin = row * dims.columns + min(lane * each, dims.columns);
  let end = row * dims.columns + min((lane + 1u) * each, dims.columns);

  if (lane == 0u) { ids[row] = -1; logprobs[row] = 0.0; }
  var top = -3.4e38;
  var first = dims.columns;
  for (var i = begin; i < end; i++) {
    let x = logits[i];
    if (x > top) { top = x; first = i - row * dims.columns; }
  }
  let best = max_lanes(lane, top);
  let winner = -max_lanes(lane, -f32(select(dims.columns, first, top == best)));
  var sum = 0.0;
  for (var i = begin; i < end; i++) { sum += exp(logits[i] - best); }
  let lse = best + log(sum_lanes(lane, sum));
  if (temperature <= 0.0) {
    // By its bits: compilers may take a NaN for impossible.
    if (lane == 0u && (bitcast<u32>(lse) & 0x7fffffffu) <= 0x7f800000u) {
      ids[row] = i32(winner);
      logprobs[row] = best - lse;
    }
    return;
  }

  var lowest = 0u;
  if (k > 0u && k < dims.columns) {
    for (var bit = 0x80000000u; bit > 0u; bit = bit >> 1u) {
      var count = 0.0;
      for (var i = begin; i < end; i++) { count += select(0.0, 1.0, key_of(logits[i]) >= (lowest | bit)); }
      if (sum_lanes(lane, count) >= f32(k)) { lowest = lowest | bit; }
    }
  }
  if (p < 1.0) {
    var all = 0.0;
    for (var i = begin; i < end; i++) { all += select(0.0, exp((logits[i] - best) / temperature), key_of(logits[i]) >= lowest); }
    let removable = (1.0 - p) * sum_lanes(lane, all);
    var limit = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit = bit >> 1u) {
      var mass = 0.0;
      for (var i = begin; i < end; i++) {
        let key = key_of(logits[i]);
        mass += select(0.0, exp((logits[i] - best) / temperature), key >= lowest && key < (limit | bit));
      }
      if (sum_lanes(lane, mass) <= removable) { limit = limit | bit; }
    }
    lowest = max(lowest, min(limit, key_of(best)));
  }

  var mass = 0.0;
  for (var i = begin; i < end; i++) { mass += select(0.0, exp((logits[i] - best) / temperature), key_of(logits[i]) >= lowest); }
  lane_mass[lane] = mass;
  workgroupBarrier();
  var total = 0.0;
  var before = 0.0;
  for (var other = 0u; other < ${lanes}u; other++) {
    if (other == lane) { before = total; }
    total += lane_mass[other];
  }
  // Every lane adds in the same order, so exactly one finds the draw in its part; rounding may put it at the very end of the last part.
  let draw = u * total;
  let after = before + mass;
  if (mass > 0.0 && draw >= before && (draw < after || after >= total)) {
    var chosen = begin;
    var passed = before;
    for (var i = begin; i < end; i++) {
      if (key_of(logits[i]) < lowest) { continue; }
      let part = exp((logits[i] - best) / temperature);
      if (part > 0.0) { chosen = i; }
      passed += part;
      if (draw < passed) { break; }
    }
    ids[row] = i32(chosen - row * dims.columns);
    logprobs[row] = logits[chosen] - lse;
  }
}`;
    },
    grid: ({ rows }) => rows,
    sizes: ({ rows, columns }) => ({
      logits: rows * columns,
      options: rows * SAMPLE_OPTIONS,
      ids: rows,
      logprobs: rows,
    }),
    reference({ logits, options, ids, logprobs }, { rows, columns }) {
      for (let r = 0; r < rows; r++) {
        const own = logits.subarray(r * columns, (r + 1) * columns);
        const [temperature, k, p, u] = options.subarray(r * SAMPLE_OPTIONS, (r + 1) * SAMPLE_OPTIONS);
        if (own.some(Number.isNaN)) {
          ids[r] = -1;
          logprobs[r] = 0;
          continue;
        }
        const id = temperature! <= 0 ? firstHighest(own) : draw(own, temperature!, k!, p!, u!);
        const best = own[firstHighest(own)]!;
        let sum = 0;
        for (const x of own) sum += Math.exp(x - best);
        ids[r] = id;
        logprobs[r] = own[id]! - best - Math.log(sum);
      }
    },
    cost: ({ rows, columns }) => ({ flops: 4 * rows * columns, bytes: 4 * rows * columns }),
    atScale: {
      statics: {},
      dims: { rows: 16, columns: 32_000 },
      fill: { logits: (i) => ((i * 7919) % 6131) / 900, options: (i) => [0.8, 40, 0.9, 0.5][i % SAMPLE_OPTIONS]! },
    },
    cases: [
      { name: "greedy, the first of equals", options: [0, 0, 1, 0], columns: 301 },
      { name: "greedy, one column", options: [0, 0, 1, 0], columns: 1 },
      { name: "temperature", options: [0.7, 0, 1], columns: 301 },
      { name: "top-k", options: [1, 5, 1], columns: 301 },
      { name: "top-k of more than there are", options: [1, 500, 1], columns: 301 },
      { name: "top-p", options: [0.9, 0, 0.3], columns: 301 },
      { name: "top-p that keeps one", options: [1, 0, 1e-6], columns: 67 },
      { name: "top-k and top-p", options: [1.3, 20, 0.6], columns: 1025 },
      { name: "greedy with a NaN", options: [0, 0, 1, 0], columns: 30, bad: Number.NaN },
      { name: "a draw with a NaN", options: [1, 0, 1], columns: 30, bad: Number.NaN },
      { name: "entries that cannot be", options: [1, 0, 0.9], columns: 30, bad: Number.NEGATIVE_INFINITY },
      { name: "the ends of the draw", options: [1, 0, 1], columns: 40, draws: [0, 0.99999994] },
    ].map(({ name, options, columns, draws, bad }) => {
      const rows = 24;
      return {
        name,
        statics: {},
        dims: { rows, columns },
        fill: {
          // Few distinct values, so that there are equals.
          logits: (i: number) => (i % 7 === 3 && bad !== undefined ? bad : (((i * 7919) % 613) - 306) / 90),
          options: (i: number) => options[i % SAMPLE_OPTIONS] ?? uniformOf(Math.floor(i / SAMPLE_OPTIONS), rows, draws),
        },
      };
    }),
  },
);

const uniformOf = (row: number, rows: number, draws?: readonly number[]) =>
  draws ? draws[row % draws.length]! : (row + 0.37) / rows;

function firstHighest(row: HostArray): number {
  let best = 0;
  for (let i = 1; i < row.length; i++) if (row[i]! > row[best]!) best = i;
  return best;
}

function draw(row: HostArray, temperature: number, k: number, p: number, u: number): number {
  const falling = [...row].toSorted((a, b) => b - a);
  const best = falling[0]!;
  const weight = (x: number) => Math.exp((x - best) / temperature);
  let lowest = k > 0 && k < row.length ? falling[k - 1]! : Number.NEGATIVE_INFINITY;
  if (p < 1) {
    const rising = falling.filter((x) => x >= lowest).toReversed();
    const removable = (1 - p) * rising.reduce((sum, x) => sum + weight(x), 0);
    const distinct = [...new Set(rising)];
    let sum = 0;
    for (const value of distinct) {
      lowest = value;
      sum += rising.filter((x) => x === value).length * weight(value);
      if (sum > removable) break;
    }
  }
  const kept = [...row.keys()].filter((i) => row[i]! >= lowest);
  let left = u * kept.reduce((sum, i) => sum + weight(row[i]!), 0);
  for (const i of kept) {
    left -= weight(row[i]!);
    if (left < 0) return i;
  }
  return kept.at(-1)!;
}
