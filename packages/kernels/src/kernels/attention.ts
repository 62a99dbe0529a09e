/**
 * Causal attention over whole sequences, forward and backward, without a [heads, tokens, tokens] matrix: online softmax forward (Milakov & Gimelshein
 * 2018, arXiv:1805.02867), recomputed probabilities backward (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4).
 */
import type { Capabilities } from "../device.ts";
import { type Binding, defineKernel, type HostArray } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { broadcast, eachColumn } from "./_broadcast.ts";
import { ids, read, write } from "./_bindings.ts";

/** window: keys a query sees, itself included; 0: all. alibi: scores lose slope times distance (Press et al. 2021, arXiv:2108.12409). */
export interface AttentionStatics extends Record<string, string | number | boolean> {
  headDim: number;
  window: number;
  alibi: boolean;
}
type AttentionDims = "batch" | "length" | "heads" | "kvHeads" | "scale";
const dims = { batch: "u32", length: "u32", heads: "u32", kvHeads: "u32", scale: "f32" } as const;

const each = (n: number, f: (i: number) => string): string => Array.from({ length: n }, (_, i) => f(i)).join(" ");
const tilesOf = (length: number, capabilities: Capabilities) => Math.ceil(length / broadcast(capabilities).lanes);

/** Query i sees key j iff j <= i, both are of one segment, the segment is not 0 (padding), and j is inside the window. */
const sees = (window: number) =>
  `j <= i && segment_j == segment_i && segment_i != 0${window > 0 ? ` && i - j < ${window}u` : ""}`;

/** With alibi, what scores take from the distance of key j to query i; positions: [batch, length], slopes: [heads]. */
const alibiBindings = (alibi: boolean) =>
  (alibi ? { slopes: read, positions: ids } : {}) as Record<"slopes" | "positions", Binding>;
const distanceBias = (alibi: boolean) =>
  alibi
    ? "score += slopes[head] * f32(positions[batch * dims.length + min(j, dims.length - 1u)] - positions[batch * dims.length + min(i, dims.length - 1u)]);"
    : "";

const gradBindings = (alibi: boolean) => ({
  q: read,
  k: read,
  v: read,
  segments: ids,
  ...alibiBindings(alibi),
  lse: read,
  delta: read,
  g: read,
});

/** A training batch: 4 x 256 tokens. */
const attentionAtScale = {
  statics: { headDim: 64, window: 0, alibi: false },
  dims: { batch: 4, length: 256, heads: 16, kvHeads: 8, scale: 0.125 },
  fill: { segments: () => 1 },
};

/**
 * out = softmax(scale q k^T) v per head; query head h reads key head h / (heads / kvHeads). q, out: [batch, length, heads, headDim];
 * k, v: [batch, length, kvHeads, headDim]; segments: [batch, length]; lse: [batch, heads, length] = ln sum exp(scores), 0 where a query sees nothing.
 */
export const attention = defineKernel<
  AttentionStatics,
  AttentionDims,
  "q" | "k" | "v" | "segments" | "slopes" | "positions" | "out" | "lse"
>({
  name: "attention",
  dims,
  bindings: ({ alibi }) => ({
    q: read,
    k: read,
    v: read,
    segments: ids,
    ...alibiBindings(alibi),
    out: write,
    lse: write,
  }),
  wgsl({ headDim, window, alibi }, capabilities) {
    const b = broadcast(capabilities);
    return `${b.header}
@compute @workgroup_size(${b.lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  ${queryTile(b.lanes)}
  let q_at = ((batch * dims.length + own) * dims.heads + head) * ${headDim}u;
  ${each(headDim, (d) => `let q${d} = q[q_at + ${d}u] * dims.scale; var o${d} = 0.0;`)}
  var top = -1e30;
  var total = 0.0;
  let first = ${window > 0 ? `max(tile * ${b.lanes}u + 1u, ${window}u) - ${window}u` : "0u"};
  for (var j = first; j < min((tile + 1u) * ${b.lanes}u, dims.length); j++) {
    let segment_j = segments[batch * dims.length + j];
    let kv_at = ((batch * dims.length + j) * dims.kvHeads + kv_head) * ${headDim}u;
    var score = 0.0;
    ${eachColumn(b, "k", "kv_at", headDim, (d, k) => `score = fma(q${d}, ${k}, score);`)}
    ${distanceBias(alibi)}
    let seen = ${sees(window)};
    let next = select(top, max(top, score), seen);
    let keep = exp(top - next);
    let p = select(0.0, exp(score - next), seen);
    top = next;
    total = total * keep + p;
    ${eachColumn(b, "v", "kv_at", headDim, (d, v) => `o${d} = fma(o${d}, keep, p * ${v});`)}
  }
  if (i >= dims.length) { return; }
  let inverse = select(0.0, 1.0 / total, total > 0.0);
  ${each(headDim, (d) => `out[q_at + ${d}u] = o${d} * inverse;`)}
  lse[(batch * dims.heads + head) * dims.length + i] = select(0.0, top + log(total), total > 0.0);
}`;
  },
  grid: ({ batch, heads, length }, _, capabilities) => batch * heads * tilesOf(length, capabilities),
  sizes: ({ batch, length, heads, kvHeads }, { headDim }) => {
    const [queries, keys] = [batch * length * heads * headDim, batch * length * kvHeads * headDim];
    return {
      q: queries,
      k: keys,
      v: keys,
      segments: batch * length,
      slopes: heads,
      positions: batch * length,
      out: queries,
      lse: batch * heads * length,
    };
  },
  reference(buffers, d, statics) {
    attentionReference(buffers, { ...d, ...statics });
  },
  cost: ({ batch, length, heads }, { headDim }) => ({
    flops: 2 * batch * heads * length * length * headDim,
    bytes: 16 * batch * length * heads * headDim,
  }),
  atScale: attentionAtScale,
  cases: attentionCases(),
});

/** delta = sum over columns of g out. g, out: [batch, length, heads, headDim]; delta: [batch, heads, length]. */
export const attentionDelta = defineKernel<AttentionStatics, AttentionDims, "g" | "out" | "delta">({
  name: "attention_delta",
  dims,
  bindings: () => ({ g: read, out: read, delta: write }),
  wgsl: ({ headDim }) => `
@compute @workgroup_size(64)
fn main(${ROW_MAIN_ARGUMENTS}) {
  let n = workgroup_index(group, groups) * 64u + lane;
  if (n >= dims.batch * dims.length * dims.heads) { return; }
  var sum = 0.0;
  for (var d = 0u; d < ${headDim}u; d++) { sum = fma(g[n * ${headDim}u + d], out[n * ${headDim}u + d], sum); }
  let head = n % dims.heads;
  let token = n / dims.heads;
  delta[((token / dims.length) * dims.heads + head) * dims.length + token % dims.length] = sum;
}`,
  grid: ({ batch, length, heads }) => Math.ceil((batch * length * heads) / 64),
  sizes: ({ batch, length, heads }, { headDim }) => ({
    g: batch * length * heads * headDim,
    out: batch * length * heads * headDim,
    delta: batch * heads * length,
  }),
  reference({ g, out, delta }, { batch, length, heads }, { headDim }) {
    for (let n = 0; n < batch * length * heads; n++) {
      let sum = 0;
      for (let d = 0; d < headDim; d++) sum += g[n * headDim + d]! * out[n * headDim + d]!;
      const token = Math.floor(n / heads);
      delta[(Math.floor(token / length) * heads + (n % heads)) * length + (token % length)] = sum;
    }
  },
  cost: ({ batch, length, heads }, { headDim }) => ({
    flops: 2 * batch * length * heads * headDim,
    bytes: 8 * batch * length * heads * headDim,
  }),
  atScale: { statics: attentionAtScale.statics, dims: attentionAtScale.dims },
  cases: attentionCases().map(({ name, statics, dims: sizes }) => ({ name, statics, dims: sizes })),
});

/** dq = scale sum over keys of p (g v - delta) k, p = exp(score - lse). Shapes as in `attention`. */
export const attentionGradQuery = defineKernel<
  AttentionStatics,
  AttentionDims,
  "q" | "k" | "v" | "segments" | "slopes" | "positions" | "lse" | "delta" | "g" | "dq"
>({
  name: "attention_grad_query",
  dims,
  bindings: ({ alibi }) => ({ ...gradBindings(alibi), dq: write }),
  wgsl({ headDim, window, alibi }, capabilities) {
    const b = broadcast(capabilities);
    return `${b.header}
@compute @workgroup_size(${b.lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  ${queryTile(b.lanes)}
  let q_at = ((batch * dims.length + own) * dims.heads + head) * ${headDim}u;
  let row = (batch * dims.heads + head) * dims.length + own;
  let lse_i = lse[row];
  let delta_i = delta[row];
  ${each(headDim, (d) => `let q${d} = q[q_at + ${d}u] * dims.scale; let g${d} = g[q_at + ${d}u]; var d${d} = 0.0;`)}
  let first = ${window > 0 ? `max(tile * ${b.lanes}u + 1u, ${window}u) - ${window}u` : "0u"};
  for (var j = first; j < min((tile + 1u) * ${b.lanes}u, dims.length); j++) {
    let segment_j = segments[batch * dims.length + j];
    let kv_at = ((batch * dims.length + j) * dims.kvHeads + kv_head) * ${headDim}u;
    var score = 0.0;
    var gv = 0.0;
    ${eachColumn(b, "v", "kv_at", headDim, (d, v) => `gv = fma(g${d}, ${v}, gv);`)}
    ${eachColumn(b, "k", "kv_at", headDim, (d, k) => `let k${d} = ${k}; score = fma(q${d}, k${d}, score);`)}
    ${distanceBias(alibi)}
    let p = select(0.0, exp(score - lse_i), ${sees(window)});
    let ds = p * (gv - delta_i) * dims.scale;
    ${each(headDim, (d) => `d${d} = fma(ds, k${d}, d${d});`)}
  }
  if (i >= dims.length) { return; }
  ${each(headDim, (d) => `dq[q_at + ${d}u] = d${d};`)}
}`;
  },
  grid: ({ batch, heads, length }, _, capabilities) => batch * heads * tilesOf(length, capabilities),
  sizes: gradSizes,
  reference: attentionGradReference,
  cost: ({ batch, length, heads }, { headDim }) => ({
    flops: 3 * batch * heads * length * length * headDim,
    bytes: 20 * batch * length * heads * headDim,
  }),
  atScale: attentionAtScale,
  cases: attentionGradCases(),
});

/** dv = sum over queries of p g; dk = scale sum over queries of p (g v - delta) q, over all query heads of a key head. */
export const attentionGradKey = defineKernel<
  AttentionStatics,
  AttentionDims,
  "q" | "k" | "v" | "segments" | "slopes" | "positions" | "lse" | "delta" | "g" | "dk" | "dv"
>({
  name: "attention_grad_key",
  dims,
  bindings: ({ alibi }) => ({ ...gradBindings(alibi), dk: write, dv: write }),
  wgsl({ headDim, window, alibi }, capabilities) {
    const b = broadcast(capabilities);
    return `${b.header}
@compute @workgroup_size(${b.lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let tiles = (dims.length + ${b.lanes - 1}u) / ${b.lanes}u;
  let index = workgroup_index(group, groups);
  let tile = index % tiles;
  let kv_head = (index / tiles) % dims.kvHeads;
  let batch = index / (tiles * dims.kvHeads);
  if (batch >= dims.batch) { return; }
  let j = tile * ${b.lanes}u + lane;
  let own = min(j, dims.length - 1u);
  let segment_j = segments[batch * dims.length + own];
  let kv_at = ((batch * dims.length + own) * dims.kvHeads + kv_head) * ${headDim}u;
  ${each(headDim, (d) => `let k${d} = k[kv_at + ${d}u] * dims.scale; let v${d} = v[kv_at + ${d}u]; var dk${d} = 0.0; var dv${d} = 0.0;`)}
  let share = dims.heads / dims.kvHeads;
  let end = ${window > 0 ? `min(dims.length, (tile + 1u) * ${b.lanes}u + ${window - 1}u)` : "dims.length"};
  for (var head = kv_head * share; head < (kv_head + 1u) * share; head++) {
    for (var i = tile * ${b.lanes}u; i < end; i++) {
      let segment_i = segments[batch * dims.length + i];
      let row = (batch * dims.heads + head) * dims.length + i;
      let q_at = ((batch * dims.length + i) * dims.heads + head) * ${headDim}u;
      var score = 0.0;
      var gv = 0.0;
      ${eachColumn(b, "q", "q_at", headDim, (d, q) => `let q${d} = ${q}; score = fma(k${d}, q${d}, score);`)}
      ${distanceBias(alibi)}
      let p = select(0.0, exp(score - lse[row]), ${sees(window)});
      ${eachColumn(b, "g", "q_at", headDim, (d, g) => `let g${d} = ${g}; gv = fma(g${d}, v${d}, gv); dv${d} = fma(p, g${d}, dv${d});`)}
      let ds = p * (gv - delta[row]) * dims.scale;
      ${each(headDim, (d) => `dk${d} = fma(ds, q${d}, dk${d});`)}
    }
  }
  if (j >= dims.length) { return; }
  ${each(headDim, (d) => `dk[kv_at + ${d}u] = dk${d}; dv[kv_at + ${d}u] = dv${d};`)}
}`;
  },
  grid: ({ batch, kvHeads, length }, _, capabilities) => batch * kvHeads * tilesOf(length, capabilities),
  sizes: gradSizes,
  reference: attentionGradReference,
  cost: ({ batch, length, heads }, { headDim }) => ({
    flops: 4 * batch * heads * length * length * headDim,
    bytes: 24 * batch * length * heads * headDim,
  }),
  atScale: attentionAtScale,
  cases: attentionGradCases(),
});

/** Declares tile, head, kv_head, batch, i (query of this lane), own (i clamped), segment_i. */
function queryTile(lanes: number): string {
  return `let tiles = (dims.length + ${lanes - 1}u) / ${lanes}u;
  let index = workgroup_index(group, groups);
  let tile = index % tiles;
  let head = (index / tiles) % dims.heads;
  let batch = index / (tiles * dims.heads);
  if (batch >= dims.batch) { return; }
  let kv_head = head / (dims.heads / dims.kvHeads);
  let i = tile * ${lanes}u + lane;
  let own = min(i, dims.length - 1u);
  let segment_i = segments[batch * dims.length + own];`;
}

function gradSizes(
  { batch, length, heads, kvHeads }: Readonly<Record<AttentionDims, number>>,
  { headDim }: AttentionStatics,
) {
  const [queries, keys, rows] = [
    batch * length * heads * headDim,
    batch * length * kvHeads * headDim,
    batch * heads * length,
  ];
  return {
    q: queries,
    k: keys,
    v: keys,
    segments: batch * length,
    slopes: heads,
    positions: batch * length,
    lse: rows,
    delta: rows,
    g: queries,
    dq: queries,
    dk: keys,
    dv: keys,
  };
}

type Sizes = Readonly<Record<AttentionDims, number>> & AttentionStatics;

/** Calls `visit` for each pair of query and key that may see one another; `bias` is what alibi adds to their score. */
function eachPair(
  { segments, slopes, positions }: Readonly<Record<string, HostArray>>,
  s: Sizes,
  visit: (pair: { q: number; k: number; row: number; bias: number }) => void,
): void {
  for (let b = 0; b < s.batch; b++) {
    for (let h = 0; h < s.heads; h++) {
      const kvHead = Math.floor(h / (s.heads / s.kvHeads));
      for (let i = 0; i < s.length; i++) {
        const segment = segments![b * s.length + i]!;
        for (let j = 0; j <= i; j++) {
          if (segment === 0 || segments![b * s.length + j] !== segment || (s.window > 0 && i - j >= s.window)) continue;
          visit({
            q: ((b * s.length + i) * s.heads + h) * s.headDim,
            k: ((b * s.length + j) * s.kvHeads + kvHead) * s.headDim,
            row: (b * s.heads + h) * s.length + i,
            bias: s.alibi ? slopes![h]! * (positions![b * s.length + j]! - positions![b * s.length + i]!) : 0,
          });
        }
      }
    }
  }
}

function dot(a: HostArray, i: number, b: HostArray, j: number, n: number): number {
  let sum = 0;
  for (let d = 0; d < n; d++) sum += a[i + d]! * b[j + d]!;
  return sum;
}

function attentionReference(buffers: Readonly<Record<string, HostArray>>, s: Sizes): void {
  const { q, k, v, out, lse } = buffers;
  const tops = new Float64Array(lse!.length).fill(Number.NEGATIVE_INFINITY);
  const totals = new Float64Array(lse!.length);
  const sums = new Float64Array(out!.length);
  const scoreOf = (p: { q: number; k: number; bias: number }) => s.scale * dot(q!, p.q, k!, p.k, s.headDim) + p.bias;
  eachPair(buffers, s, (p) => {
    tops[p.row] = Math.max(tops[p.row]!, scoreOf(p));
  });
  eachPair(buffers, s, (p) => {
    const weight = Math.exp(scoreOf(p) - tops[p.row]!);
    totals[p.row]! += weight;
    for (let d = 0; d < s.headDim; d++) sums[p.q + d]! += weight * v![p.k + d]!;
  });
  for (let b = 0; b < s.batch; b++) {
    for (let h = 0; h < s.heads; h++) {
      for (let i = 0; i < s.length; i++) {
        const row = (b * s.heads + h) * s.length + i;
        const total = totals[row]!;
        lse![row] = total > 0 ? tops[row]! + Math.log(total) : 0;
        const at = ((b * s.length + i) * s.heads + h) * s.headDim;
        for (let d = 0; d < s.headDim; d++) out![at + d] = total > 0 ? sums[at + d]! / total : 0;
      }
    }
  }
}

function attentionGradReference(
  buffers: Readonly<Record<string, HostArray>>,
  d: Readonly<Record<AttentionDims, number>>,
  statics: AttentionStatics,
): void {
  const s: Sizes = { ...d, ...statics };
  const { q, k, v, lse, delta, g } = buffers as Record<"q" | "k" | "v" | "lse" | "delta" | "g", HostArray>;
  const sums = new Map(["dq", "dk", "dv"].map((name) => [name, new Float64Array(buffers[name]?.length ?? 0)]));
  const [dq, dk, dv] = [sums.get("dq")!, sums.get("dk")!, sums.get("dv")!];
  eachPair(buffers, s, (p) => {
    const weight = Math.exp(s.scale * dot(q, p.q, k, p.k, s.headDim) + p.bias - lse[p.row]!);
    const ds = weight * (dot(g, p.q, v, p.k, s.headDim) - delta[p.row]!) * s.scale;
    for (let d = 0; d < s.headDim; d++) {
      if (dq.length > 0) dq[p.q + d]! += ds * k[p.k + d]!;
      if (dk.length > 0) dk[p.k + d]! += ds * q[p.q + d]!;
      if (dv.length > 0) dv[p.k + d]! += weight * g[p.q + d]!;
    }
  });
  for (const [name, sum] of sums) buffers[name]?.set(sum);
}

function attentionCases() {
  const make = (
    name: string,
    headDim: number,
    window: number,
    d: [number, number, number, number],
    segment: (i: number) => number,
    alibi = false,
  ) => ({
    name,
    statics: { headDim, window, alibi },
    dims: { batch: d[0], length: d[1], heads: d[2], kvHeads: d[3], scale: 0.4 },
    fill: {
      segments: segment,
      ...(alibi ? { slopes: (i: number) => 0.5 ** (i + 1), positions: (i: number) => i % d[1] } : {}),
    },
  });
  return [
    make("smallest", 1, 0, [1, 1, 1, 1], () => 1),
    make("one past a tile, grouped heads", 12, 0, [2, 9, 4, 2], () => 1),
    make("left padding", 8, 0, [2, 17, 2, 1], (i) => (i % 17 < 4 ? 0 : 1)),
    make("packed segments", 8, 0, [1, 21, 2, 2], (i) => (i < 5 ? 1 : i < 14 ? 2 : i < 19 ? 3 : 0)),
    make("window", 16, 6, [1, 35, 2, 1], () => 1),
    make("alibi", 8, 0, [2, 19, 3, 3], (i) => (i % 19 < 3 ? 0 : 1), true),
  ];
}

function attentionGradCases() {
  return attentionCases().map((c) => ({ ...c, tolerance: { atol: 1e-4, rtol: 1e-4 } }));
}
