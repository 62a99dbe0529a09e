/** Matrix product with an epilogue. Two texts: one subgroup per tile (drivers that run on the CPU, and small M), shared-memory tiles (GPUs). */
import type { Capabilities } from "../device.ts";
import { type Binding, defineKernel, type KernelCase } from "../kernel.ts";
import { ERF_WGSL, erf } from "./binary.ts";
import { quantizedCases } from "./_matmul-quantized.ts";
import { sharedTileText } from "./_matmul-shared.ts";
import { subgroupText } from "./_matmul-subgroup.ts";
import {
  blockScale,
  packedLoad,
  rawLoad,
  rawOctetLoad,
  rawQuadLoad,
  readWeightAt,
  weightBindings,
  weightSizes,
  type WeightType,
} from "./_packed.ts";
import { BLOCK, isQuantized, weightStorages } from "../weight-storage.ts";

export type Activation = "none" | "silu" | "relu" | "gelu" | "gelu_tanh" | "tanh";

/** Tile of the kernel: rows and columns per lane (subgroup text, `SubgroupTile` explains the rest) or per thread (shared text). */
export interface MatmulTile {
  readonly variant: "subgroup" | "shared";
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly wide: boolean;
  readonly alignedK: boolean;
  /** b is scaled by block, and its rows are whole blocks: a scale is read once for each block of a row. */
  readonly alignedBlocks: boolean;
}

export interface MatmulStatics extends Record<string, string | number | boolean> {
  /** a is stored [k, m] instead of [m, k]. */
  transA: boolean;
  /** b is stored [n, k] (nn.Linear) instead of [k, n]. */
  transB: boolean;
  /** Storage of b (weight-storage.ts). */
  bType: WeightType;
  hasBias: boolean;
  activation: Activation;
  /** Adds to `residual` (same shape as y) after everything else. */
  hasResidual: boolean;
  variant: "subgroup" | "shared";
  rows: number;
  columns: number;
  depth: number;
  wide: boolean;
  /** k is a multiple of depth: no turn of the loop is cut short. */
  alignedK: boolean;
  alignedBlocks: boolean;
}

/** x W^T with W in f32 and nothing after it: what every tile can be tried on. */
export const PLAIN_MATMUL = {
  transA: false,
  transB: true,
  bType: "f32",
  hasBias: false,
  activation: "none",
  hasResidual: false,
} as const satisfies Partial<MatmulStatics>;

export type MatmulDims = "m" | "n" | "k" | "scale" | "aColumns" | "aOffset" | "yColumns" | "yOffset" | "bBegin";
export type MatmulBuffers = "a" | "b" | "b_scales" | "bias" | "residual" | "y";

const activations: Record<Activation, { wgsl: string; f: (x: number) => number }> = {
  none: { wgsl: "v", f: (x) => x },
  silu: { wgsl: "v / (1.0 + exp(-v))", f: (x) => x / (1 + Math.exp(-x)) },
  relu: { wgsl: "max(v, 0.0)", f: (x) => Math.max(x, 0) },
  gelu: { wgsl: "0.5 * v * (1.0 + erf(v * 0.70710678))", f: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)) },
  gelu_tanh: {
    wgsl: "0.5 * v * (1.0 + tanh_safe(0.79788456 * (v + 0.044715 * v * v * v)))",
    f: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  },
  tanh: { wgsl: "tanh_safe(v)", f: Math.tanh },
};

/**
 * y = activation(scale * a b + bias) + residual, sums in f32 in the order of k for every tile, so a row's result does not depend on m.
 * a: [m, k] or [k, m], columns from aOffset of rows of aColumns; b: [k, n] or [n, k]; bias: [n]; residual, y: columns yOffset .. yOffset + n of rows of
 * yColumns (a weight split by rows fills a part of each row). y is not written elsewhere. bBegin: the first row of the stored matrix that is bound as b; scales are
 * bound whole. A scale that all of a column of the product share is applied to the sum, one of a row of b to a, one of a block to b's elements.
 */
export const matmul = defineKernel<MatmulStatics, MatmulDims, MatmulBuffers>({
  name: "matmul",
  dims: {
    m: "u32",
    n: "u32",
    k: "u32",
    aColumns: "u32",
    aOffset: "u32",
    yColumns: "u32",
    yOffset: "u32",
    scale: "f32",
    bBegin: "u32",
  },
  bindings: ({ bType, wide, hasBias, hasResidual }) =>
    ({
      a: { type: "f32", access: "read" },
      ...weightBindings("b", bType, wide),
      ...(hasBias ? { bias: { type: "f32", access: "read" } } : {}),
      ...(hasResidual ? { residual: { type: "f32", access: "read" } } : {}),
      y: { type: "f32", access: "read_write" },
    }) as Record<MatmulBuffers, Binding>,
  wgsl(statics, capabilities) {
    const { transA, transB, hasBias, activation, hasResidual } = statics;
    const of = scaleOf(statics);
    const common = `${activation.startsWith("gelu") || activation === "tanh" ? ERF_WGSL : ""}
${loadsOfWeight(statics)}
fn at_a(i: u32, k: u32) -> f32 { return a[i]${of.step ? ` * b_scales[${of.step}]` : ""}; }
fn index_a(row: u32, k: u32) -> u32 { return ${transA ? "k * dims.aColumns + dims.aOffset + row" : "row * dims.aColumns + dims.aOffset + k"}; }
fn index_b(k: u32, col: u32) -> u32 { return ${transB ? "col * dims.k + k" : "k * dims.n + col"}; }
fn store(row: u32, col: u32, acc: f32) {
  if (row >= dims.m || col >= dims.n) { return; }
  var v = acc * dims.scale${of.column ? ` * b_scales[${of.column}]` : ""};
  ${hasBias ? "v += bias[col];" : ""}
  v = ${activations[activation].wgsl};
  let at = row * dims.yColumns + dims.yOffset + col;
  y[at] = v${hasResidual ? " + residual[at]" : ""};
}`;
    const text = statics.variant === "subgroup" ? subgroupText : sharedTileText;
    return text(statics, capabilities) + common;
  },
  grid({ m, n }, { variant, rows, columns }, capabilities) {
    const [tileRows, tileColumns] =
      variant === "subgroup" ? [rows, columns * capabilities.subgroupMinSize] : [rows * 16, columns * 16];
    return Math.ceil(m / tileRows) * Math.ceil(n / tileColumns);
  },
  sizes({ m, n, k, aColumns, aOffset, yColumns, yOffset, bBegin }, { transA, transB, bType }) {
    const y = (m - 1) * yColumns + yOffset + n;
    const a = transA ? (k - 1) * aColumns + aOffset + m : (m - 1) * aColumns + aOffset + k;
    const [rows, columns] = transB ? [n, k] : [k, n];
    return { a, ...weightSizes("b", bType, { begin: bBegin, rows, columns }), bias: n, residual: y, y };
  },
  reference(
    { a, b, b_scales, bias, residual, y },
    { m, n, k, scale, aColumns, aOffset, yColumns, yOffset, bBegin },
    { transA, transB, bType, hasBias, activation, hasResidual },
  ) {
    const stored = { values: b, scales: b_scales };
    for (let row = 0; row < m; row++) {
      for (let col = 0; col < n; col++) {
        let sum = 0;
        for (let i = 0; i < k; i++) {
          const place = transB ? { row: col, column: i, columns: k } : { row: i, column: col, columns: n };
          sum +=
            a[(transA ? i * aColumns + row : row * aColumns + i) + aOffset]! *
            readWeightAt(stored, { ...place, begin: bBegin }, bType);
        }
        const v = activations[activation].f(sum * scale + (hasBias ? bias[col]! : 0));
        const at = row * yColumns + yOffset + col;
        y[at] = v + (hasResidual ? residual[at]! : 0);
      }
    }
  },
  cost: ({ m, n, k }, { bType }) => ({
    flops: 2 * m * n * k,
    bytes: 4 * (m * k + m * n) + (weightStorages[bType].bits / 8) * k * n,
  }),
  // `graft bench` has its own list of products, each with the tile that is chosen for it.
  atScale: undefined,
  cases: cases(),
});

/** WGSL indexes of the scale that belongs to a step of k (`k`), or to a column of the product (`col`), where b is scaled by row or by column. */
function scaleOf({ bType, transB }: MatmulStatics): { readonly step?: string; readonly column?: string } {
  const { scaled } = weightStorages[bType];
  if (scaled !== "row" && scaled !== "column") return {};
  const first = scaled === "row" ? "dims.bBegin + " : "";
  return (scaled === "row") === transB ? { column: `${first}col` } : { step: `${first}k` };
}

/** `at_b(i)` or, read four at a time, `at_b4(i)`: elements with the scale that is their block's alone. */
function loadsOfWeight({ bType, wide, transB }: MatmulStatics): string {
  const isBlock = weightStorages[bType].scaled === "block";
  if (!wide) {
    if (isBlock) return packedLoad("b", bType, transB ? "dims.k" : "dims.n", "dims.bBegin");
    return `${rawLoad("b", bType)}fn at_b(i: u32) -> f32 { return raw_b(i); }`;
  }
  const first = `dims.bBegin * (dims.${transB ? "k" : "n"} / 4u)`;
  const scale = isBlock ? ` * block_scale_b((${first} + i) / ${BLOCK / 4}u)` : "";
  return `${blockScale("b", bType)}${rawQuadLoad("b", bType)}${rawOctetLoad("b", bType)}fn at_b4(i: u32) -> vec4f { return raw_b4(i)${scale}; }`;
}

const scratch = new DataView(new ArrayBuffer(4));

export interface MatmulProblem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA?: boolean;
  readonly transB: boolean;
  readonly bType?: WeightType;
}

/**
 * The tile for a product, from what the device can do. A subgroup tile wants as many rows as m has: each element of b is loaded once per tile row.
 * GPUs take shared-memory tiles unless m is small. What a Tuner found for this device comes first.
 */
export function chooseTile(problem: MatmulProblem, capabilities: Capabilities): MatmulTile {
  const tuned = capabilities.tiles.get(tileKey(problem));
  if (tuned) return tuned;
  const { m, n, k, transB, bType = "f32" } = problem;
  const alignedBlocks = weightStorages[bType].scaled === "block" && (transB ? k : n) % BLOCK === 0;
  const { subgroups, subgroupMinSize: size, subgroupMaxSize, isSoftware } = capabilities;
  if (!subgroups || size !== subgroupMaxSize || (!isSoftware && m > 16)) {
    return sharedTile(problem);
  }
  const rows = [1, 2, 4, 8].find((r) => m <= r) ?? 16;
  const subgroup = (columns: number, depth: number, wide: boolean): MatmulTile => ({
    variant: "subgroup",
    rows,
    columns,
    depth,
    wide,
    alignedK: k % depth === 0,
    alignedBlocks: alignedBlocks && wide,
  });
  // Measured: docs/kernels.md. Many sums in flight, and a loop that stays small. In few rows loads dominate: of whole blocks eight codes at a time, a scale for two steps.
  if (!transB && n % 4 === 0) {
    const columns = [16, 8].find((c) => c * size <= n) ?? 4;
    return subgroup(columns, alignedBlocks && m <= 8 ? 2 : 1, true);
  }
  if (transB && k % 4 === 0) {
    if (alignedBlocks && m <= 4 && size >= 8) return subgroup(n <= size ? 1 : 4, 8, true);
    return m === 1 ? subgroup(1, Math.min(8, size), true) : subgroup(n <= size ? 1 : 4, 4, true);
  }
  return subgroup(n <= size ? 1 : 2, 4, false);
}

/** The tile in workgroup memory. Codes lie several to a word, so one thread unpacks four where rows of b allow it. */
export function sharedTile({ m, n, k, transB, bType = "f32" }: MatmulProblem): MatmulTile {
  const wide = isQuantized(bType) && (transB ? k : n) % 4 === 0;
  const rows = m <= 16 ? 1 : 4;
  return { variant: "shared", rows, columns: 4, depth: 16, wide, alignedK: false, alignedBlocks: false };
}

/** Problems that are tuned together: alike but for the number of rows, within a power of two. */
export function tileKey({ m, n, k, transA = false, transB, bType = "f32" }: MatmulProblem): string {
  return `${2 ** Math.ceil(Math.log2(m))}x${n}x${k} ${transA ? "aT" : "a"} ${transB ? "bT" : "b"} ${bType}`;
}

function cases(): KernelCase<MatmulStatics, MatmulDims, MatmulBuffers>[] {
  const plain: MatmulStatics = {
    ...PLAIN_MATMUL,
    variant: "subgroup",
    rows: 4,
    columns: 2,
    depth: 4,
    wide: false,
    alignedK: false,
    alignedBlocks: false,
  };
  const bits = (type: WeightType) => (i: number) => {
    // Two small floats of either sign in one word.
    const one = (j: number) => {
      const value = (((j * 29) % 31) - 15) / 16;
      if (type === "bf16") {
        scratch.setFloat32(0, value);
        return scratch.getUint32(0) >>> 16;
      }
      const sign = value < 0 ? 0x8000 : 0;
      const magnitude = Math.abs(value);
      if (magnitude === 0) return sign;
      const exponent = Math.floor(Math.log2(magnitude));
      return sign | ((exponent + 15) << 10) | Math.round((magnitude / 2 ** exponent - 1) * 1024);
    };
    return (one(2 * i) | (one(2 * i + 1) << 16)) >>> 0;
  };
  const at = (m: number, n: number, k: number, transA = false) => ({
    m,
    n,
    k,
    aColumns: transA ? m : k,
    aOffset: 0,
    yColumns: n,
    yOffset: 0,
    scale: 1,
    bBegin: 0,
  });
  const all: KernelCase<MatmulStatics, MatmulDims, MatmulBuffers>[] = [];
  for (const tile of [
    { variant: "subgroup", rows: 4, columns: 2 },
    { variant: "shared", rows: 4, columns: 4, depth: 16 },
  ] as const) {
    for (const transA of [false, true]) {
      for (const transB of [false, true]) {
        const layout = `${tile.variant} ${transA ? "aT" : "a"} ${transB ? "bT" : "b"}`;
        all.push({ name: layout, statics: { ...plain, ...tile, transA, transB }, dims: at(5, 19, 13, transA) });
        all.push({
          name: `${layout} 70x65x33`,
          statics: { ...plain, ...tile, transA, transB },
          dims: at(70, 65, 33, transA),
        });
      }
      for (const bType of ["f16", "bf16"] as const) {
        all.push({
          name: `${tile.variant} ${bType} ${transA ? "b" : "bT"}`,
          statics: { ...plain, ...tile, transB: !transA, bType },
          dims: at(5, 19, 13),
          fill: { b: bits(bType) },
        });
      }
    }
    for (const activation of ["silu", "relu", "gelu", "gelu_tanh", "tanh"] as const) {
      all.push({
        name: `${tile.variant} bias ${activation} residual`,
        statics: { ...plain, ...tile, activation, hasBias: true, hasResidual: true },
        dims: { ...at(5, 19, 13), scale: 0.5 },
      });
    }
    all.push({
      name: `${tile.variant} into a part of each row`,
      statics: { ...plain, ...tile },
      dims: { ...at(5, 19, 13), aColumns: 17, aOffset: 3, yColumns: 40, yOffset: 21 },
      fill: { y: () => 0 },
    });
  }
  for (const rows of [1, 2, 8, 16]) {
    all.push({ name: `subgroup ${rows} rows`, statics: { ...plain, rows }, dims: at(17, 19, 13) });
    all.push({
      name: `subgroup ${rows} rows, depth 1`,
      statics: { ...plain, rows, depth: 1 },
      dims: at(17, 19, 13),
    });
  }
  for (const transB of [false, true]) {
    for (const transA of [false, true]) {
      for (const bType of ["f32", "f16", "bf16"] as const) {
        const wide = { ...plain, transA, transB, bType, wide: true, columns: transB ? 2 : 8 };
        const fill = bType === "f32" ? {} : { fill: { b: bits(bType) } };
        const name = `wide ${bType} ${transA ? "aT" : "a"} ${transB ? "bT" : "b"}`;
        // The dimension that b is read along is a multiple of 4; the others are not.
        const cut = transB ? at(7, 19, 12, transA) : at(7, 44, 13, transA);
        all.push({ name: `${name}, cut short`, statics: { ...wide, depth: transB ? 8 : 4 }, dims: cut, ...fill });
        all.push({ name, statics: { ...wide, alignedK: true }, dims: at(5, 36, 24, transA), ...fill });
      }
    }
  }
  for (const transB of [false, true]) {
    for (const transA of [false, true]) {
      // 128 is a multiple of every subgroup size.
      const name = `whole steps ${transA ? "aT" : "a"} ${transB ? "bT" : "b"}`;
      all.push({ name, statics: { ...plain, transA, transB, alignedK: true }, dims: at(6, 20, 128, transA) });
    }
  }
  all.push({ name: "one element", statics: plain, dims: at(1, 1, 1) });
  return [...all, ...quantizedCases(plain, at)];
}
