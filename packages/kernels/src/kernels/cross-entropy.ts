/** Softmax cross-entropy with labels to ignore, and its gradient. */
import { elementsOf, grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS, rowTopAndSum, topAndSum } from "../row.ts";

/** loss[r] = lse[r] - logits[r, label] in nats, 0 where label < 0; lse = ln sum exp. logits: [rows, columns]; labels, loss, lse: [rows]. */
export const crossEntropy = defineKernel<
  Record<never, never>,
  "rows" | "columns",
  "logits" | "labels" | "loss" | "lse"
>({
  name: "cross_entropy",
  dims: { rows: "u32", columns: "u32" },
  bindings: () => ({
    logits: { type: "f32", access: "read" },
    labels: { type: "i32", access: "read" },
    loss: { type: "f32", access: "read_write" },
    lse: { type: "f32", access: "read_write" },
  }),
  wgsl(_, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let begin = row * dims.columns;
  ${rowTopAndSum("logits", lanes)}
  let total = top + log(sum);
  if (lane == 0u) {
    let label = labels[row];
    lse[row] = total;
    loss[row] = select(0.0, total - logits[begin + u32(clamp(label, 0, i32(dims.columns) - 1))], label >= 0);
  }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }) => ({ logits: rows * columns, labels: rows, loss: rows, lse: rows }),
  reference({ logits, labels, loss, lse }, { rows, columns }) {
    for (let r = 0; r < rows; r++) {
      const { top, sum } = topAndSum(logits.subarray(r * columns, (r + 1) * columns));
      const total = top + Math.log(sum);
      lse[r] = total;
      loss[r] = labels[r]! < 0 ? 0 : total - logits[r * columns + labels[r]!]!;
    }
  },
  cost: ({ rows, columns }) => ({ flops: 4 * rows * columns, bytes: 4 * rows * columns }),
  atScale: { statics: {}, dims: { rows: 128, columns: 32_000 }, fill: { labels: (i) => 7 * i } },
  cases: [
    { name: "one class", statics: {}, dims: { rows: 2, columns: 1 } },
    {
      name: "ignored labels",
      statics: {},
      dims: { rows: 7, columns: 131 },
      fill: { labels: (i) => (i % 3 === 0 ? -100 : i * 17) },
    },
  ],
});

/** dlogits[r, c] = g[r] (exp(logits[r, c] - lse[r]) - [c = label]), 0 where label < 0. g: [rows]. `wide`: four columns a thread; columns must be a multiple of 4. */
export const crossEntropyGrad = defineKernel<
  { wide: boolean },
  "rows" | "columns",
  "logits" | "labels" | "lse" | "g" | "dlogits"
>({
  name: "cross_entropy_grad",
  dims: { rows: "u32", columns: "u32" },
  bindings: ({ wide }) => ({
    logits: { type: elementsOf(wide), access: "read" },
    labels: { type: "i32", access: "read" },
    lse: { type: "f32", access: "read" },
    g: { type: "f32", access: "read" },
    dlogits: { type: elementsOf(wide), access: "read_write" },
  }),
  wgsl: ({ wide }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  let columns = dims.columns${wide ? " / 4u" : ""};
  if (i >= dims.rows * columns) { return; }
  let row = i / columns;
  let label = labels[row];
  let column = i32(i % columns)${wide ? " * 4 + vec4i(0, 1, 2, 3)" : ""};
  let hit = select(${wide ? "vec4f(), vec4f(1.0), column == vec4i(label)" : "0.0, 1.0, column == label"});
  dlogits[i] = select(0.0, g[row], label >= 0) * (exp(logits[i] - lse[row]) - hit);
}`,
  grid: ({ rows, columns }, { wide }) => grid1d((rows * columns) / (wide ? 4 : 1)),
  sizes: ({ rows, columns }) => ({ logits: rows * columns, labels: rows, lse: rows, g: rows, dlogits: rows * columns }),
  reference({ logits, labels, lse, g, dlogits }, { rows, columns }) {
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const p = Math.exp(logits[r * columns + c]! - lse[r]!) - (c === labels[r] ? 1 : 0);
        dlogits[r * columns + c] = labels[r]! < 0 ? 0 : g[r]! * p;
      }
    }
  },
  cost: ({ rows, columns }) => ({ flops: 4 * rows * columns, bytes: 8 * rows * columns }),
  atScale: { statics: { wide: true }, dims: { rows: 128, columns: 32_000 }, fill: { labels: (i) => 7 * i } },
  cases: [
    {
      name: "ignored labels",
      statics: { wide: false },
      dims: { rows: 7, columns: 131 },
      fill: { labels: (i) => (i % 3 === 0 ? -100 : i * 17), lse: () => 4 },
    },
    {
      name: "four at a time",
      statics: { wide: true },
      dims: { rows: 7, columns: 132 },
      fill: { labels: (i) => (i % 3 === 0 ? -100 : i * 17), lse: () => 4 },
    },
  ],
});
