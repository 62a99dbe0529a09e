/** How the matrices of a frozen base are stored: floats, or integer codes with scales. What lies where, and its meaning on the host; loads in WGSL are in kernels/_packed.ts. */
import type { HostArray } from "./kernel.ts";

/** Codes with scales. "int8": a scale for each row; "int8_columns": for each column (weights stored [in, out], whose columns are output features); "nf4": for each block. */
export type QuantizedType = "int8" | "int8_columns" | "nf4";
export type WeightType = "f32" | "f16" | "bf16" | QuantizedType;

export interface WeightStorage {
  /** Of one element; packed into u32 from the low bits on, in row-major order. */
  readonly bits: 32 | 16 | 8 | 4;
  /** What shares one scale. A block is BLOCK consecutive elements of the row-major matrix. */
  readonly scaled: "no" | "row" | "column" | "block";
}

export const weightStorages: Readonly<Record<WeightType, WeightStorage>> = {
  f32: { bits: 32, scaled: "no" },
  f16: { bits: 16, scaled: "no" },
  bf16: { bits: 16, scaled: "no" },
  int8: { bits: 8, scaled: "row" },
  int8_columns: { bits: 8, scaled: "column" },
  nf4: { bits: 4, scaled: "block" },
};

export function isQuantized(type: string): type is QuantizedType {
  return Object.hasOwn(weightStorages, type) && weightStorages[type as WeightType].scaled !== "no";
}

/** Elements that share a scale in nf4, as in QLoRA (Dettmers et al. 2023, arXiv:2305.14314). */
export const BLOCK = 64;
/** Blocks whose scales are quantised together (section 3, "double quantization"). */
export const GROUP = 256;
/** A group's scales on the device: its scale and offset (f32), then an E4M3 code for each block, four to a word. */
export const GROUP_WORDS: number = 2 + GROUP / 4;

/** The 16 levels of NormalFloat4 (arXiv:2305.14314, appendix E): quantiles of a standard normal, scaled to [-1, 1], with an exact zero. */
export const NF4_LEVELS: readonly number[] = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
].map(Math.fround);

/** Offset alignment that every device accepts: the scales of a weight begin there, after its elements, in the same buffer. */
const ALIGNMENT = 256;

/** Bytes of a stored matrix: elements, where its scales begin, their size, and the whole. */
export function weightBytes(
  type: WeightType,
  shape: readonly number[],
): { readonly elements: number; readonly scalesAt: number; readonly scales: number; readonly total: number } {
  const count = shape.reduce((a, b) => a * b, 1);
  const elements = elementWords(type, count) * 4;
  const rows = shape[0] ?? 1;
  const scales = scaleWords(type, rows, count / rows) * 4;
  if (scales === 0) return { elements, scalesAt: elements, scales, total: elements };
  const scalesAt = Math.ceil(elements / ALIGNMENT) * ALIGNMENT;
  return { elements, scalesAt, scales, total: scalesAt + scales };
}

/** Words of 4 bytes that hold `count` elements. */
export function elementWords(type: WeightType, count: number): number {
  return Math.ceil((count * weightStorages[type].bits) / 32);
}

/** Words of 4 bytes that hold the scales of a matrix. */
export function scaleWords(type: WeightType, rows: number, columns: number): number {
  const words = { no: 0, row: rows, column: columns, block: 0 }[weightStorages[type].scaled];
  return weightStorages[type].scaled === "block" ? Math.ceil((rows * columns) / (BLOCK * GROUP)) * GROUP_WORDS : words;
}

/** Element i before it is scaled. */
export function readPacked(array: HostArray, i: number, type: WeightType): number {
  switch (type) {
    case "f32":
      return array[i]!;
    case "f16": {
      const half = (array[i >> 1]! >>> ((i & 1) * 16)) & 0xffff;
      const exponent = (half >> 10) & 31;
      const fraction = half & 1023;
      const magnitude = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
      return half & 0x8000 ? -magnitude : magnitude;
    }
    case "bf16":
      return floatOf(((array[i >> 1]! >>> ((i & 1) * 16)) & 0xffff) << 16);
    case "int8":
    case "int8_columns":
      return (array[i >> 2]! << (24 - (i & 3) * 8)) >> 24;
    case "nf4":
      return NF4_LEVELS[(array[i >> 3]! >>> nf4Shift(i)) & 15]!;
  }
}

/** Where the code of element i begins in its word: of a byte's two codes the first is in the upper half, as in bitsandbytes. */
export function nf4Shift(i: number): number {
  return 4 * ((i & 7) ^ 1);
}

/** The scale of an element; 1 where a type has none. `scales`: words as on the device. */
export function readScale(
  scales: HostArray | undefined,
  { row, column, columns }: { readonly row: number; readonly column: number; readonly columns: number },
  type: WeightType,
): number {
  switch (weightStorages[type].scaled) {
    case "no":
      return 1;
    case "row":
      return scales![row]!;
    case "column":
      return scales![column]!;
    case "block": {
      const block = Math.floor((row * columns + column) / BLOCK);
      const at = Math.floor(block / GROUP) * GROUP_WORDS;
      const inGroup = block % GROUP;
      const code = (scales![at + 2 + (inGroup >> 2)]! >>> ((inGroup & 3) * 8)) & 255;
      return blockScale(code, floatOf(scales![at]!), floatOf(scales![at + 1]!));
    }
  }
}

/** The scale that an E4M3 code stands for in a group, as f32. */
export function blockScale(code: number, groupScale: number, offset: number): number {
  return Math.fround(fromE4M3(code) * groupScale + offset);
}

/** An 8-bit float of 4 exponent and 3 fraction bits (Micikevicius et al. 2022, arXiv:2209.05433, table 1). */
export function fromE4M3(code: number): number {
  const exponent = (code >> 3) & 15;
  const magnitude = exponent === 0 ? (code & 7) * 2 ** -9 : (8 + (code & 7)) * 2 ** (exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

function floatOf(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}
const scratch = new DataView(new ArrayBuffer(4));
