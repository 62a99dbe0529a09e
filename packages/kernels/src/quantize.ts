/** Floats to codes and scales, and back, on the host. Schemes: docs/quantisation.md. */
import {
  BLOCK,
  elementWords,
  fromE4M3,
  GROUP,
  GROUP_WORDS,
  NF4_LEVELS,
  nf4Shift,
  type QuantizedType,
  readPacked,
  readScale,
  scaleWords,
  weightBytes,
  weightStorages,
} from "./weight-storage.ts";

/** A matrix that need not be whole in memory. */
export interface MatrixSource {
  readonly rows: number;
  readonly columns: number;
  /** Elements [begin, end) in row-major order, all finite. */
  read(begin: number, end: number): Float32Array;
}

/** Elements that are in memory at once: whole groups of blocks, so that no scale is shared by two pieces. */
export const PIECE: number = 64 * BLOCK * GROUP;

/** Scales of a matrix as the device holds them, in one pass over it. Rows, columns or blocks of zeros have the scale 0 or an inexact one: their codes are zero. */
export function quantizeScales(type: QuantizedType, source: MatrixSource): Uint32Array<ArrayBuffer> {
  const { rows, columns } = source;
  const count = rows * columns;
  const { scaled } = weightStorages[type];
  const absmax = new Float32Array({ no: 0, row: rows, column: columns, block: Math.ceil(count / BLOCK) }[scaled]);
  for (let begin = 0; begin < count; begin += PIECE) {
    const values = source.read(begin, Math.min(count, begin + PIECE));
    for (let i = 0; i < values.length; i++) {
      const at = begin + i;
      const shared =
        scaled === "block" ? Math.floor(at / BLOCK) : scaled === "row" ? Math.floor(at / columns) : at % columns;
      const magnitude = Math.abs(values[i]!);
      if (magnitude > absmax[shared]!) absmax[shared] = magnitude;
    }
  }
  return scaled === "block" ? quantizeBlockScales(absmax) : new Uint32Array(absmax.map((a) => a / 127).buffer);
}

/** Double quantization: a group's absmax less their mean, in E4M3 of the largest difference. */
function quantizeBlockScales(absmax: Float32Array): Uint32Array<ArrayBuffer> {
  const groups = Math.ceil(absmax.length / GROUP);
  const words = new Uint32Array(groups * GROUP_WORDS);
  const floats = new Float32Array(words.buffer);
  const codes = new Uint8Array(words.buffer);
  for (let group = 0; group < groups; group++) {
    const own = absmax.subarray(group * GROUP, (group + 1) * GROUP);
    const offset = Math.fround(own.reduce((sum, a) => sum + a, 0) / own.length);
    const most = own.reduce((max, a) => Math.max(max, Math.abs(a - offset)), 0);
    const scale = Math.fround(most / E4M3_MAX);
    const at = group * GROUP_WORDS;
    floats[at] = scale;
    floats[at + 1] = offset;
    if (scale > 0) for (let i = 0; i < own.length; i++) codes[(at + 2) * 4 + i] = toE4M3((own[i]! - offset) / scale);
  }
  return words;
}

/** Codes of elements from `begin` on, packed; `begin` is a multiple of PIECE. `scales`: as quantizeScales gives them. */
export function quantizeElements(
  type: QuantizedType,
  values: Float32Array,
  { begin, columns, scales }: { readonly begin: number; readonly columns: number; readonly scales: Uint32Array },
): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(elementWords(type, values.length));
  if (type === "nf4") {
    for (let from = 0; from < values.length; from += BLOCK) encodeBlock(values, from, words);
    return words;
  }
  const codes = new Int8Array(words.buffer);
  const floats = new Float32Array(scales.buffer, scales.byteOffset, scales.length);
  const { scaled } = weightStorages[type];
  for (let i = 0; i < values.length; i++) {
    const at = begin + i;
    const scale = floats[scaled === "row" ? Math.floor(at / columns) : at % columns]!;
    // A scale that is subnormal has lost digits: codes stay in their range all the same.
    if (scale > 0) codes[i] = Math.max(-127, Math.min(127, Math.round(values[i]! / scale)));
  }
  return words;
}

/** The nearest level of each element of a block, in units of the block's own absmax, as bitsandbytes does; not of the scale that double quantization leaves of it. */
function encodeBlock(values: Float32Array, from: number, words: Uint32Array): void {
  const end = Math.min(values.length, from + BLOCK);
  let absmax = 0;
  for (let i = from; i < end; i++) absmax = Math.max(absmax, Math.abs(values[i]!));
  for (let i = from; i < end; i++) {
    const x = absmax > 0 ? values[i]! / absmax : 0;
    const low = FIRST_CODE[Math.min(BINS - 1, Math.floor(((x + 1) * BINS) / 2))]!;
    const code = low < 15 && x > MIDPOINTS[low]! ? low + 1 : low;
    words[i >> 3] = words[i >> 3]! | (code << nf4Shift(i));
  }
}

const MIDPOINTS = NF4_LEVELS.slice(0, -1).map((level, i) => (level + NF4_LEVELS[i + 1]!) / 2);
/** Bins of [-1, 1] that are narrower than the distance of two midpoints, so each holds at most one; FIRST_CODE is the code at a bin's lower end. */
const BINS = 64;
const FIRST_CODE = Uint8Array.from(
  { length: BINS },
  (_, bin) => MIDPOINTS.filter((m) => m < (2 * bin) / BINS - 1).length,
);

/** The largest E4M3 number. */
const E4M3_MAX = 448;

/** The nearest E4M3 code of a number in [-448, 448]; ties go to the even code. */
export function toE4M3(value: number): number {
  const magnitude = Math.min(Math.abs(value), E4M3_MAX);
  const exponent = Math.max(-6, Math.floor(Math.log2(magnitude)));
  const guess = (exponent + 7) * 8 + Math.floor(magnitude / 2 ** (exponent - 3)) - 8;
  // Below the smallest normal the guess is the subnormal's own code; the neighbours decide.
  let best = Math.max(0, guess);
  for (const code of [best, best + 1]) {
    const [error, least] = [code, best].map((c) => Math.abs(fromE4M3(c) - magnitude)) as [number, number];
    if (code <= 126 && (error < least || (error === least && code % 2 === 0))) best = code;
  }
  return value < 0 ? best | 0x80 : best;
}

/** All elements of a stored matrix as f32. `bytes`: as the device holds it. */
export function dequantize(
  type: QuantizedType,
  shape: readonly number[],
  bytes: Uint8Array,
): Float32Array<ArrayBuffer> {
  const [rows, columns] = shape as readonly [number, number];
  const { elements, scalesAt } = weightBytes(type, shape);
  const words = new Uint32Array(bytes.slice(0, elements).buffer);
  const bits = bytes.slice(scalesAt, scalesAt + scaleWords(type, rows, columns) * 4).buffer;
  const isBlock = weightStorages[type].scaled === "block";
  const scales = isBlock ? new Uint32Array(bits) : new Float32Array(bits);
  const values = new Float32Array(rows * columns);
  let scale = 0;
  for (let i = 0; i < values.length; i++) {
    const place = { row: Math.floor(i / columns), column: i % columns, columns };
    if (!isBlock || i % BLOCK === 0) scale = readScale(scales, place, type);
    values[i] = readPacked(words, i, type) * scale;
  }
  return values;
}

/** A whole matrix as the device holds it: for what is small, and for tests. */
export function quantize(type: QuantizedType, shape: readonly number[], values: Float32Array): Uint8Array<ArrayBuffer> {
  const [rows, columns] = shape as readonly [number, number];
  const { scalesAt, total } = weightBytes(type, shape);
  const bytes = new Uint8Array(total);
  const source = { rows, columns, read: (begin: number, end: number) => values.subarray(begin, end) };
  const scales = quantizeScales(type, source);
  for (let begin = 0; begin < values.length; begin += PIECE) {
    const piece = source.read(begin, Math.min(values.length, begin + PIECE));
    const words = quantizeElements(type, piece, { begin, columns, scales });
    bytes.set(new Uint8Array(words.buffer), (begin * weightStorages[type].bits) / 8);
  }
  bytes.set(new Uint8Array(scales.buffer), scalesAt);
  return bytes;
}
