/** Element types of checkpoint files and their exact conversions. Hosts are little-endian, as every WebGPU platform is. */
import { CheckpointError } from "../errors/index.ts";

/**
 * Bytes of one element of every dtype of the safetensors format, in the order of the `Dtype` enum of the safetensors crate 0.8.0: the crate lays tensors out by this
 * order, last first. Sub-byte elements are packed.
 */
export const DTYPE_BYTES = {
  BOOL: 1,
  F4: 1 / 2,
  F6_E2M3: 3 / 4,
  F6_E3M2: 3 / 4,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  C64: 8,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;
export type FileDType = keyof typeof DTYPE_BYTES;

export function isFileDType(name: unknown): name is FileDType {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

/** In the order of the format's enum. */
export const fileDTypes: readonly FileDType[] = Object.keys(DTYPE_BYTES).filter(isFileDType);

/** Throws CheckpointError that begins with `where` if elements are no floating-point numbers: integers are codes of a quantization, which mean nothing by themselves. */
export function checkWeightDType(dtype: FileDType, where: string): void {
  if (/^B?F\d/.test(dtype)) return;
  throw new CheckpointError(
    `${where} is ${dtype}, weights are F32, F16, BF16 or F64; if the checkpoint is quantized, take the original`,
  );
}

/**
 * Bytes of a dense tensor. Undefined if a size is no natural number, the product no exact integer, or sub-byte elements do not fill whole bytes (the format has no
 * padding inside a tensor).
 */
export function tensorBytes(shape: readonly number[], dtype: FileDType): number | undefined {
  let bits = DTYPE_BYTES[dtype] * 8;
  for (const size of shape) {
    bits *= size;
    if (size < 0 || !Number.isSafeInteger(size) || !Number.isSafeInteger(bits)) return undefined;
  }
  return bits % 8 === 0 ? bits / 8 : undefined;
}

/**
 * Elements as float32: exact for F32, F16, BF16, F8 and integers below 2^24; F64 and larger integers are rounded to nearest. BOOL gives 0 or 1.
 * For aligned F32 the result is a view of `bytes`, not a copy. Throws CheckpointError that begins with `where` for complex and sub-byte dtypes.
 */
export function toFloat32(bytes: Uint8Array, dtype: FileDType, where: string): Float32Array<ArrayBuffer> {
  if (dtype === "F32") return new Float32Array(...aligned(bytes, 4, where));
  if (dtype === "F16") {
    // Through integer bits, so that the payload of a NaN survives.
    const table = f16Table();
    const halves = new Uint16Array(...aligned(bytes, 2, where));
    const bits = new Uint32Array(halves.length);
    for (let i = 0; i < halves.length; i++) bits[i] = table[halves[i]!]!;
    return new Float32Array(bits.buffer);
  }
  if (dtype === "BF16") {
    const halves = new Uint16Array(...aligned(bytes, 2, where));
    const bits = new Uint32Array(halves.length);
    for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
    return new Float32Array(bits.buffer);
  }
  return Float32Array.from(toFloat64(bytes, dtype, where));
}

/** Elements as float64: exact for everything but 64-bit integers beyond 2^53, which are rounded. Throws as `toFloat32`. */
export function toFloat64(bytes: Uint8Array, dtype: FileDType, where: string): Float64Array<ArrayBuffer> {
  switch (dtype) {
    case "F64":
      return new Float64Array(...aligned(bytes, 8, where));
    case "F32":
    case "F16":
    case "BF16":
      return Float64Array.from(toFloat32(bytes, dtype, where));
    case "I64":
      return Float64Array.from(new BigInt64Array(...aligned(bytes, 8, where)), Number);
    case "U64":
      return Float64Array.from(new BigUint64Array(...aligned(bytes, 8, where)), Number);
    case "I32":
      return Float64Array.from(new Int32Array(...aligned(bytes, 4, where)));
    case "U32":
      return Float64Array.from(new Uint32Array(...aligned(bytes, 4, where)));
    case "I16":
      return Float64Array.from(new Int16Array(...aligned(bytes, 2, where)));
    case "U16":
      return Float64Array.from(new Uint16Array(...aligned(bytes, 2, where)));
    case "I8":
      return Float64Array.from(new Int8Array(...aligned(bytes, 1, where)));
    case "U8":
      return Float64Array.from(bytes);
    case "BOOL":
      return Float64Array.from(bytes, (b) => (b === 0 ? 0 : 1));
    case "F8_E5M2":
    case "F8_E4M3":
    case "F8_E8M0":
    case "F8_E4M3FNUZ":
    case "F8_E5M2FNUZ":
      return Float64Array.from(bytes, (b) => fromF8(b, dtype));
    case "F4":
    case "F6_E2M3":
    case "F6_E3M2":
    case "C64":
      throw new CheckpointError(`${where}: dtype ${dtype} cannot be read as real numbers; save it as F32, F16 or BF16`);
    default:
      return dtype satisfies never;
  }
}

/** Elements as int32. Throws CheckpointError that begins with `where` for a dtype that is no integer or BOOL, and for an element out of range. */
export function toIntegers(bytes: Uint8Array, dtype: FileDType, where: string): Int32Array<ArrayBuffer> {
  if (dtype === "I32") return new Int32Array(...aligned(bytes, 4, where));
  if (!/^([IU]\d+|BOOL)$/.test(dtype)) throw new CheckpointError(`${where}: dtype ${dtype} is no integer`);
  const wide = toFloat64(bytes, dtype, where);
  for (let i = 0; i < wide.length; i++) {
    if (wide[i]! > 0x7fffffff || wide[i]! < -0x80000000) {
      throw new CheckpointError(`${where}: element ${i} is ${wide[i]}, outside the range of int32`);
    }
  }
  return Int32Array.from(wide);
}

/** Dtypes that floats can be written in. */
export type FloatDType = "F64" | "F32" | "F16" | "BF16";

export function isFloatDType(dtype: FileDType): dtype is FloatDType {
  return dtype === "F64" || dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/** Bytes of `values` in `dtype`, rounded to nearest, ties to even; too large becomes infinity, NaN stays NaN. For F32 the result is a view of `values`. */
export function fromFloat32(values: Float32Array, dtype: FloatDType): Uint8Array {
  switch (dtype) {
    case "F32":
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    case "F64":
      return new Uint8Array(Float64Array.from(values).buffer);
    case "F16":
      return new Uint8Array(encodeF16(values).buffer);
    case "BF16":
      return new Uint8Array(encodeBF16(values).buffer);
    default:
      return dtype satisfies never;
  }
}

/** IEEE 754 binary16 bits of each value, rounded to nearest, ties to even. */
export function encodeF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  return mapBits(values, f16Bits);
}

/** bfloat16 bits (the upper half of float32) of each value, rounded to nearest, ties to even. */
export function encodeBF16(values: Float32Array): Uint16Array<ArrayBuffer> {
  return mapBits(values, bf16Bits);
}

const word = new Float32Array(1);
const wordBits = new Uint32Array(word.buffer);

/** A number to binary16 bits, by way of float32. */
export function toF16(value: number): number {
  word[0] = value;
  return f16Bits(wordBits[0]!);
}

/** binary16 bits to number, exact. */
export function fromF16(half: number): number {
  wordBits[0] = f16Table()[half & 0xffff]!;
  return word[0]!;
}

/** A number to bfloat16 bits, by way of float32. */
export function toBF16(value: number): number {
  word[0] = value;
  return bf16Bits(wordBits[0]!);
}

/** bfloat16 bits to number, exact. */
export function fromBF16(half: number): number {
  wordBits[0] = half << 16;
  return word[0]!;
}

function bf16Bits(x: number): number {
  // A NaN whose payload sits in the lower half would round to infinity: keep the upper half and set the quiet bit.
  return (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
}

function f16Bits(x: number): number {
  const sign = (x >>> 16) & 0x8000;
  const rest = x & 0x7fffffff;
  if (rest > 0x7f800000) return sign | 0x7e00 | ((rest >>> 13) & 0x1ff); // NaN
  if (rest >= 0x47800000) return sign | 0x7c00; // 65536 and more
  if (rest >= 0x38800000) {
    // Normal: move the exponent's bias from 127 to 15. A carry out of the fraction goes into the exponent, up to infinity.
    const moved = rest - 0x38000000;
    return sign | ((moved + 0xfff + ((moved >>> 13) & 1)) >>> 13);
  }
  if (rest < 0x33000000) return sign; // below half of the smallest subnormal, 2^-25
  const fraction = (rest & 0x7fffff) | 0x800000;
  const drop = 126 - (rest >>> 23); // 14 to 24 bits fall off
  const kept = fraction >>> drop;
  const remainder = fraction & ((1 << drop) - 1);
  const half = 1 << (drop - 1);
  return sign | (kept + (remainder > half || (remainder === half && (kept & 1) === 1) ? 1 : 0));
}

let f16Values: Uint32Array<ArrayBuffer> | undefined;

/** The float32 bits of each of the 65,536 half floats: decoding is a look-up. */
function f16Table(): Uint32Array<ArrayBuffer> {
  if (f16Values) return f16Values;
  const bits = new Uint32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const sign = (h & 0x8000) << 16;
    const exponent = (h >>> 10) & 31;
    const fraction = h & 0x3ff;
    if (exponent === 31) bits[h] = sign | 0x7f800000 | (fraction << 13);
    else if (exponent > 0) bits[h] = sign | ((exponent + 112) << 23) | (fraction << 13);
    else if (fraction === 0) bits[h] = sign;
    else {
      const top = 31 - Math.clz32(fraction); // position of the leading one; the value is fraction * 2^-24
      bits[h] = sign | ((top + 103) << 23) | ((fraction << (23 - top)) & 0x7fffff);
    }
  }
  return (f16Values = bits);
}

/**
 * One 8-bit float. E5M2 and E4M3 (without infinities): Micikevicius et al. 2022, arXiv:2209.05433; FNUZ variants (no negative zero, bias one higher):
 * Noune et al. 2022, arXiv:2206.02915; E8M0: OCP Microscaling Formats v1.0.
 */
function fromF8(byte: number, dtype: "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ"): number {
  if (dtype === "F8_E8M0") return byte === 255 ? Number.NaN : 2 ** (byte - 127);
  const isFnuz = dtype.endsWith("FNUZ");
  if (isFnuz && byte === 0x80) return Number.NaN;
  const fractionBits = dtype.startsWith("F8_E5M2") ? 2 : 3;
  const bias = (fractionBits === 2 ? 15 : 7) + (isFnuz ? 1 : 0);
  const sign = byte & 0x80 ? -1 : 1;
  const exponent = (byte & 0x7f) >>> fractionBits;
  const fraction = byte & ((1 << fractionBits) - 1);
  if (dtype === "F8_E5M2" && exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (dtype === "F8_E4M3" && (byte & 0x7f) === 0x7f) return Number.NaN;
  const unit = 2 ** -fractionBits;
  return exponent === 0
    ? sign * fraction * unit * 2 ** (1 - bias)
    : sign * (1 + fraction * unit) * 2 ** (exponent - bias);
}

/** A loop: `Uint16Array.from` with a function takes ten times as long. */
function mapBits(values: Float32Array, convert: (bits: number) => number): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) halves[i] = convert(bits[i]!);
  return halves;
}

/** Constructor arguments of a typed array over `bytes`: a view where the offset allows it, else a copy. Throws CheckpointError on a torn element. */
function aligned(bytes: Uint8Array, size: number, where: string): [ArrayBuffer, number, number] {
  if (bytes.byteLength % size !== 0) {
    throw new CheckpointError(`${where}: ${bytes.byteLength} bytes are no whole number of ${size}-byte elements`);
  }
  const { buffer, byteOffset } = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes);
  return [buffer as ArrayBuffer, byteOffset, bytes.byteLength / size]; // bytes from a file are never in a SharedArrayBuffer
}
