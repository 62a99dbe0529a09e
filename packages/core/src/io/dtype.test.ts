import { expect, test } from "bun:test";
import { CheckpointError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import {
  DTYPE_BYTES,
  encodeBF16,
  encodeF16,
  type FileDType,
  fileDTypes,
  fromBF16,
  fromF16,
  fromFloat32,
  tensorBytes,
  toBF16,
  toF16,
  toFloat32,
  toFloat64,
  toIntegers,
} from "./dtype.ts";

const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
const allHalves = Uint16Array.from({ length: 65536 }, (_, i) => i);

test("every half float decodes to the value of the runtime's own Float16Array", () => {
  const want = Float32Array.from(new Float16Array(allHalves.buffer));
  const got = toFloat32(bytesOf(allHalves), "F16", "t");
  for (let h = 0; h < 65536; h++) if (!Object.is(got[h], want[h])) throw new Error(`${h}: ${got[h]}, want ${want[h]}`);
  for (const h of [0, 1, 0x3ff, 0x400, 0x7bff, 0x7c00, 0x8001, 0xfc00]) expect(fromF16(h)).toBe(want[h]!);
});

test("every half float and every bfloat16 survives decoding and encoding, payloads of quiet NaNs too", () => {
  const f16 = encodeF16(toFloat32(bytesOf(allHalves), "F16", "t"));
  const bf16 = encodeBF16(toFloat32(bytesOf(allHalves), "BF16", "t"));
  for (let h = 0; h < 65536; h++) {
    const isF16Nan = (h & 0x7c00) === 0x7c00 && (h & 0x3ff) !== 0;
    const isBF16Nan = (h & 0x7f80) === 0x7f80 && (h & 0x7f) !== 0;
    if (f16[h] !== (isF16Nan ? h | 0x200 : h)) throw new Error(`F16 ${h.toString(16)} became ${f16[h]!.toString(16)}`);
    if (bf16[h] !== (isBF16Nan ? h | 0x40 : h))
      throw new Error(`BF16 ${h.toString(16)} became ${bf16[h]!.toString(16)}`);
  }
});

test("encoding to F16 rounds as the runtime's own Float16Array does", () => {
  const seed = 20260401;
  const random = new Random(seed);
  const bits = Uint32Array.from({ length: 200_000 }, () => random.uint32());
  // Exponents around the limits of half precision, where rounding, subnormals and overflow happen, and exact ties.
  const near = Uint32Array.from({ length: 200_000 }, () => {
    const exponent = 100 + (random.uint32() % 45);
    const fraction = random.uint32() & (random.uint32() % 2 ? 0x7fffff : 0x7ff000);
    return ((random.uint32() & 1) << 31) | (exponent << 23) | fraction;
  });
  for (const sample of [bits, near]) {
    const values = new Float32Array(sample.buffer);
    const want = new Uint16Array(Float16Array.from(values).buffer);
    const got = encodeF16(values);
    for (let i = 0; i < values.length; i++) {
      const same = Number.isNaN(values[i])
        ? Number.isNaN(fromF16(got[i]!))
        : got[i] === want[i] && toF16(values[i]!) === want[i];
      if (!same)
        throw new Error(`seed ${seed}: ${values[i]} became ${got[i]!.toString(16)}, want ${want[i]!.toString(16)}`);
    }
  }
});

test("encoding to BF16 gives the nearer neighbour, and the even one of two", () => {
  const seed = 7;
  const random = new Random(seed);
  for (let i = 0; i < 100_000; i++) {
    const upper = random.uint32() % 0x7f80; // finite and not negative
    const lower = i % 4 === 0 ? 0x8000 : random.uint32() & 0xffff;
    const value = new Float32Array(Uint32Array.of((upper << 16) | lower).buffer)[0]!;
    const want = lower > 0x8000 || (lower === 0x8000 && upper % 2 === 1) ? upper + 1 : upper;
    if (toBF16(value) !== want || toBF16(-value) !== (want | 0x8000)) throw new Error(`seed ${seed}: ${value}`);
  }
  expect(Number.isNaN(fromBF16(encodeBF16(new Float32Array(Uint32Array.of(0x7f800001).buffer))[0]!))).toBe(true);
});

test("8-bit floats decode to the values of their definitions", () => {
  const one = (byte: number, dtype: FileDType) => toFloat32(Uint8Array.of(byte), dtype, "t")[0]!;
  expect([0x38, 0x7e, 0x01, 0x08, 0xb8].map((b) => one(b, "F8_E4M3"))).toEqual([1, 448, 2 ** -9, 2 ** -6, -1]);
  expect(one(0x7f, "F8_E4M3")).toBeNaN();
  expect([0x3c, 0x7b, 0x01, 0x7c, 0xfc].map((b) => one(b, "F8_E5M2"))).toEqual([
    1,
    57344,
    2 ** -16,
    Infinity,
    -Infinity,
  ]);
  expect(one(0x7d, "F8_E5M2")).toBeNaN();
  expect([0x40, 0x7f, 0x01].map((b) => one(b, "F8_E4M3FNUZ"))).toEqual([1, 240, 2 ** -10]);
  expect([0x40, 0x7f, 0x01].map((b) => one(b, "F8_E5M2FNUZ"))).toEqual([1, 57344, 2 ** -17]);
  expect(one(0x80, "F8_E4M3FNUZ")).toBeNaN();
  expect([127, 128, 0].map((b) => toFloat64(Uint8Array.of(b), "F8_E8M0", "t")[0]!)).toEqual([1, 2, 2 ** -127]);
  expect(one(255, "F8_E8M0")).toBeNaN();
});

test("integers, bools and doubles become floats", () => {
  expect([...toFloat32(bytesOf(BigInt64Array.of(-3n, 1n << 40n)), "I64", "t")]).toEqual([-3, 2 ** 40]);
  expect([...toFloat32(bytesOf(BigUint64Array.of(5n)), "U64", "t")]).toEqual([5]);
  expect([...toFloat32(bytesOf(Int16Array.of(-2)), "I16", "t")]).toEqual([-2]);
  expect([...toFloat32(bytesOf(Uint16Array.of(65535)), "U16", "t")]).toEqual([65535]);
  expect([...toFloat32(bytesOf(Uint32Array.of(3_000_000_000)), "U32", "t")]).toEqual([3_000_000_000]);
  expect([...toFloat32(Uint8Array.of(0, 1, 2), "BOOL", "t")]).toEqual([0, 1, 1]);
  expect([...toFloat32(Uint8Array.of(255), "I8", "t")]).toEqual([-1]);
  expect([...toFloat32(bytesOf(Float64Array.of(0.1)), "F64", "t")]).toEqual([Math.fround(0.1)]);
  expect([...toIntegers(bytesOf(BigInt64Array.of(-100n, 7n)), "I64", "t")]).toEqual([-100, 7]);
});

test("bytes at any offset are read, torn elements and dtypes without numbers are refused by name", () => {
  const odd = new Uint8Array(9);
  odd.set(bytesOf(Float32Array.of(1.5, -2)), 1);
  expect([...toFloat32(odd.subarray(1), "F32", "t")]).toEqual([1.5, -2]);
  expect(() => toFloat32(odd, "F32", "a.bin: tensor w")).toThrow(
    new CheckpointError("a.bin: tensor w: 9 bytes are no whole number of 4-byte elements"),
  );
  expect(() => toFloat32(new Uint8Array(8), "C64", "a.bin: tensor w")).toThrow(
    "a.bin: tensor w: dtype C64 cannot be read as real numbers",
  );
  expect(() => toIntegers(new Uint8Array(4), "F32", "w")).toThrow("w: dtype F32 is no integer");
  expect(() => toIntegers(bytesOf(BigInt64Array.of(1n << 31n)), "I64", "w")).toThrow(
    "w: element 0 is 2147483648, outside the range of int32",
  );
});

test("floats are written in four dtypes and read back", () => {
  const values = Float32Array.of(0, -1.5, 3.140625, 65504);
  for (const dtype of ["F64", "F32", "F16"] as const) {
    expect(toFloat32(fromFloat32(values, dtype), dtype, "t")).toEqual(values);
  }
  expect([...toFloat32(fromFloat32(values, "BF16"), "BF16", "t")]).toEqual([0, -1.5, 3.140625, 65536]);
});

test("a tensor's size is exact or undefined", () => {
  expect(tensorBytes([], "F32")).toBe(4);
  expect(tensorBytes([3, 0, 5], "BF16")).toBe(0);
  expect(tensorBytes([2, 6], "F4")).toBe(6);
  expect(tensorBytes([3], "F4")).toBeUndefined();
  expect(tensorBytes([4], "F6_E2M3")).toBe(3);
  expect(tensorBytes([2 ** 30, 2 ** 30], "F32")).toBeUndefined();
  expect(tensorBytes([2 ** 40, 2 ** 40, 0], "F32")).toBeUndefined();
  expect(tensorBytes([-1], "F32")).toBeUndefined();
  expect(fileDTypes).toHaveLength(Object.keys(DTYPE_BYTES).length);
});
