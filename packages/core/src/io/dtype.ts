/** The dtypes of safetensors and how their bytes become numbers. */
import { CheckpointError } from "../errors/index.ts";

/** Bytes of one element. */
export const DTYPE_BYTES = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;
export type FileDType = keyof typeof DTYPE_BYTES;

export function isFileDType(name: unknown): name is FileDType {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

const word = new DataView(new ArrayBuffer(4));

/** IEEE half to number, exact. */
export function fromF16(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const magnitude =
    exponent === 31
      ? fraction
        ? Number.NaN
        : Number.POSITIVE_INFINITY
      : exponent === 0
        ? fraction * 2 ** -24
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return half & 0x8000 ? -magnitude : magnitude;
}

/** Number to IEEE half, round to nearest even. */
export function toF16(value: number): number {
  word.setFloat32(0, value);
  const sign = (word.getUint32(0) >>> 16) & 0x8000;
  if (Number.isNaN(value)) return 0x7e00;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  if (magnitude < 2 ** -14) return sign | roundEven(magnitude * 2 ** 24);
  const exponent = Math.floor(Math.log2(magnitude));
  // log2 may be off by one next to a power of two.
  const e = magnitude < 2 ** exponent ? exponent - 1 : magnitude >= 2 ** (exponent + 1) ? exponent + 1 : exponent;
  return sign | (((e + 15) << 10) + roundEven((magnitude / 2 ** e - 1) * 1024));
}

/** bfloat16 to number, exact. */
export function fromBF16(bits: number): number {
  word.setUint32(0, bits << 16);
  return word.getFloat32(0);
}

/** Number to bfloat16, round to nearest even. */
export function toBF16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  word.setFloat32(0, value);
  const bits = word.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

function roundEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

/** Little-endian bytes of a floating or small integer dtype as f32. Throws CheckpointError for dtypes that f32 cannot hold. */
export function toFloat32(bytes: Uint8Array, dtype: FileDType, where: string): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  const read: Partial<Record<FileDType, (i: number) => number>> = {
    F64: (i) => view.getFloat64(i * 8, true),
    F32: (i) => view.getFloat32(i * 4, true),
    F16: (i) => fromF16(view.getUint16(i * 2, true)),
    BF16: (i) => fromBF16(view.getUint16(i * 2, true)),
    I32: (i) => view.getInt32(i * 4, true),
    I16: (i) => view.getInt16(i * 2, true),
    I8: (i) => view.getInt8(i),
    U8: (i) => view.getUint8(i),
    BOOL: (i) => view.getUint8(i),
    I64: (i) => Number(view.getBigInt64(i * 8, true)),
  };
  if (dtype === "F32" && bytes.byteOffset % 4 === 0)
    return new Float32Array(bytes.buffer, bytes.byteOffset, count).slice();
  const one = read[dtype];
  if (!one) throw new CheckpointError(`${where}: dtype ${dtype} cannot be used as f32`);
  return Float32Array.from({ length: count }, (_, i) => one(i));
}

/** Integer or bool bytes as numbers. Throws CheckpointError for other dtypes. */
export function toIntegers(bytes: Uint8Array, dtype: FileDType, where: string): Int32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  const read: Partial<Record<FileDType, (i: number) => number>> = {
    I64: (i) => Number(view.getBigInt64(i * 8, true)),
    I32: (i) => view.getInt32(i * 4, true),
    I16: (i) => view.getInt16(i * 2, true),
    I8: (i) => view.getInt8(i),
    U8: (i) => view.getUint8(i),
    BOOL: (i) => view.getUint8(i),
  };
  const one = read[dtype];
  if (!one) throw new CheckpointError(`${where}: dtype ${dtype} is no integer`);
  return Int32Array.from({ length: count }, (_, i) => one(i));
}
