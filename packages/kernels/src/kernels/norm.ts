/** RMSNorm (Zhang & Sennrich 2019, arXiv:1910.07467) and LayerNorm (Ba et al. 2016, arXiv:1607.06450), forward and backward. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { type Binding, defineKernel } from "../kernel.ts";
import { lanesPerRow, laneReductions, ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

export type NormKind = "rms" | "layer";

/**
 * y = (x - mean) * rstd * weight + bias; rms has mean 0 and no bias. x, y: [rows, columns]; weight, bias: [columns];
 * stats: [rows, 2] = (mean, rstd), rstd = 1 / sqrt(mean((x - mean)^2) + eps).
 */
export const norm = defineKernel<
  { kind: NormKind; eps: number; hasBias: boolean },
  "rows" | "columns",
  "x" | "weight" | "bias" | "y" | "stats"
>({
  name: "norm",
  dims: { rows: "u32", columns: "u32" },
  bindings: ({ hasBias }) =>
    ({ x: read, weight: read, ...(hasBias ? { bias: read } : {}), y: write, stats: write }) as Record<
      "x" | "weight" | "bias" | "y" | "stats",
      Binding
    >,
  wgsl({ kind, eps, hasBias }, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let begin = row * dims.columns;
  var mean = 0.0;
  ${
    kind === "layer"
      ? `var total = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) { total += x[begin + c]; }
  mean = sum_lanes(lane, total) / f32(dims.columns);`
      : ""
  }
  var squares = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) { let d = x[begin + c] - mean; squares += d * d; }
  let rstd = 1.0 / sqrt(sum_lanes(lane, squares) / f32(dims.columns) + ${float(eps)});
  for (var c = lane; c < dims.columns; c += ${lanes}u) {
    y[begin + c] = (x[begin + c] - mean) * rstd * weight[c]${hasBias ? " + bias[c]" : ""};
  }
  if (lane == 0u) { stats[2u * row] = mean; stats[2u * row + 1u] = rstd; }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }) => ({
    x: rows * columns,
    weight: columns,
    bias: columns,
    y: rows * columns,
    stats: 2 * rows,
  }),
  reference({ x, weight, bias, y, stats }, { rows, columns }, { kind, eps, hasBias }) {
    for (let r = 0; r < rows; r++) {
      const { mean, rstd } = rowStats(x, r, columns, kind, eps);
      stats[2 * r] = mean;
      stats[2 * r + 1] = rstd;
      for (let c = 0; c < columns; c++) {
        y[r * columns + c] = (x[r * columns + c]! - mean) * rstd * weight[c]! + (hasBias ? bias[c]! : 0);
      }
    }
  },
  cost: ({ rows, columns }) => ({ flops: 6 * rows * columns, bytes: 8 * rows * columns }),
  atScale: { statics: { kind: "rms", eps: 1e-6, hasBias: false }, dims: { rows: 512, columns: 1024 } },
  cases: [
    { name: "rms smallest", statics: { kind: "rms", eps: 1e-5, hasBias: false }, dims: { rows: 1, columns: 1 } },
    { name: "rms 5x131", statics: { kind: "rms", eps: 1e-6, hasBias: false }, dims: { rows: 5, columns: 131 } },
    { name: "layer 5x131", statics: { kind: "layer", eps: 1e-5, hasBias: true }, dims: { rows: 5, columns: 131 } },
    {
      name: "layer without bias",
      statics: { kind: "layer", eps: 1e-5, hasBias: false },
      dims: { rows: 3, columns: 9 },
    },
    { name: "rms 512x256", statics: { kind: "rms", eps: 1e-6, hasBias: false }, dims: { rows: 512, columns: 256 } },
  ],
});

/**
 * dx = rstd (h - mean(h) [layer only] - xhat mean(h xhat)) with h = g weight, xhat = (x - mean) rstd. g, x, dx: [rows, columns].
 */
export const normGrad = defineKernel<{ kind: NormKind }, "rows" | "columns", "g" | "x" | "weight" | "stats" | "dx">({
  name: "norm_grad",
  dims: { rows: "u32", columns: "u32" },
  bindings: () => ({ g: read, x: read, weight: read, stats: read, dx: write }),
  wgsl({ kind }, capabilities) {
    const lanes = lanesPerRow(capabilities);
    return `${laneReductions(lanes)}
@compute @workgroup_size(${lanes})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let row = workgroup_index(group, groups);
  if (row >= dims.rows) { return; }
  let begin = row * dims.columns;
  let mean = stats[2u * row];
  let rstd = stats[2u * row + 1u];
  var sum_h = 0.0;
  var sum_hx = 0.0;
  for (var c = lane; c < dims.columns; c += ${lanes}u) {
    let h = g[begin + c] * weight[c];
    sum_h += h;
    sum_hx += h * (x[begin + c] - mean) * rstd;
  }
  let mean_hx = sum_lanes(lane, sum_hx) / f32(dims.columns);
  ${kind === "layer" ? "let mean_h = sum_lanes(lane, sum_h) / f32(dims.columns);" : "let mean_h = 0.0;"}
  for (var c = lane; c < dims.columns; c += ${lanes}u) {
    dx[begin + c] = rstd * (g[begin + c] * weight[c] - mean_h - (x[begin + c] - mean) * rstd * mean_hx);
  }
}`;
  },
  grid: ({ rows }) => rows,
  sizes: ({ rows, columns }) => ({
    g: rows * columns,
    x: rows * columns,
    weight: columns,
    stats: 2 * rows,
    dx: rows * columns,
  }),
  reference({ g, x, weight, stats, dx }, { rows, columns }, { kind }) {
    for (let r = 0; r < rows; r++) {
      const [mean, rstd] = [stats[2 * r]!, stats[2 * r + 1]!];
      let sumH = 0;
      let sumHx = 0;
      for (let c = 0; c < columns; c++) {
        const h = g[r * columns + c]! * weight[c]!;
        sumH += h;
        sumHx += h * (x[r * columns + c]! - mean) * rstd;
      }
      for (let c = 0; c < columns; c++) {
        const at = r * columns + c;
        const centred = g[at]! * weight[c]! - (kind === "layer" ? sumH / columns : 0);
        dx[at] = rstd * (centred - (x[at]! - mean) * rstd * (sumHx / columns));
      }
    }
  },
  cost: ({ rows, columns }) => ({ flops: 10 * rows * columns, bytes: 12 * rows * columns }),
  atScale: { statics: { kind: "rms" }, dims: { rows: 512, columns: 1024 } },
  cases: (["rms", "layer"] as const).flatMap((kind) =>
    [
      [1, 1],
      [5, 131],
    ].map(([rows, columns]) => ({
      name: `${kind} ${rows}x${columns}`,
      statics: { kind },
      dims: { rows: rows!, columns: columns! },
    })),
  ),
});

/** dweight = sum over rows of g xhat; dbias = sum over rows of g (layer). One thread per column. */
export const normWeightGrad = defineKernel<
  { hasBias: boolean },
  "rows" | "columns",
  "g" | "x" | "stats" | "dweight" | "dbias"
>({
  name: "norm_weight_grad",
  dims: { rows: "u32", columns: "u32" },
  bindings: ({ hasBias }) =>
    ({ g: read, x: read, stats: read, dweight: write, ...(hasBias ? { dbias: write } : {}) }) as Record<
      "g" | "x" | "stats" | "dweight" | "dbias",
      Binding
    >,
  wgsl: ({ hasBias }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let c = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (c >= dims.columns) { return; }
  var dw = 0.0;
  var db = 0.0;
  for (var r = 0u; r < dims.rows; r++) {
    let at = r * dims.columns + c;
    dw += g[at] * (x[at] - stats[2u * r]) * stats[2u * r + 1u];
    db += g[at];
  }
  dweight[c] = dw;
  ${hasBias ? "dbias[c] = db;" : ""}
}`,
  grid: ({ columns }) => grid1d(columns),
  sizes: ({ rows, columns }) => ({
    g: rows * columns,
    x: rows * columns,
    stats: 2 * rows,
    dweight: columns,
    dbias: columns,
  }),
  reference({ g, x, stats, dweight, dbias }, { rows, columns }, { hasBias }) {
    for (let c = 0; c < columns; c++) {
      let dw = 0;
      let db = 0;
      for (let r = 0; r < rows; r++) {
        dw += g[r * columns + c]! * (x[r * columns + c]! - stats[2 * r]!) * stats[2 * r + 1]!;
        db += g[r * columns + c]!;
      }
      dweight[c] = dw;
      if (hasBias) dbias[c] = db;
    }
  },
  cost: ({ rows, columns }) => ({ flops: 5 * rows * columns, bytes: 8 * rows * columns }),
  atScale: { statics: { hasBias: false }, dims: { rows: 512, columns: 1024 } },
  cases: [true, false].map((hasBias) => ({
    name: hasBias ? "with bias" : "weight alone",
    statics: { hasBias },
    dims: { rows: 7, columns: 67 },
  })),
});

function rowStats(
  x: ArrayLike<number>,
  row: number,
  columns: number,
  kind: NormKind,
  eps: number,
): { mean: number; rstd: number } {
  let mean = 0;
  if (kind === "layer") {
    for (let c = 0; c < columns; c++) mean += x[row * columns + c]!;
    mean /= columns;
  }
  let squares = 0;
  for (let c = 0; c < columns; c++) squares += (x[row * columns + c]! - mean) ** 2;
  return { mean, rstd: 1 / Math.sqrt(squares / columns + eps) };
}

/** A WGSL float literal. */
function float(value: number): string {
  return value.toExponential(9);
}
