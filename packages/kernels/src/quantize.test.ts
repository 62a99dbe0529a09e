import { expect, test } from "bun:test";
import { erf } from "./kernels/binary.ts";
import { dequantize, PIECE, quantize, quantizeElements, quantizeScales, toE4M3 } from "./quantize.ts";
import { BLOCK, fromE4M3, GROUP, NF4_LEVELS, weightBytes } from "./weight-storage.ts";

/** Seeded noise of a normal's shape, a few rows much larger than the others. */
function matrix(rows: number, columns: number): Float32Array {
  let state = 7;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const normal = uniform() + uniform() + uniform() + uniform() - 2;
    return normal * (Math.floor(i / columns) % 5 === 0 ? 8 : 0.3);
  });
}

test("the NF4 levels are quantiles of a normal, eight below zero and eight from it on, as the paper makes them", () => {
  const quantile = (p: number): number => {
    let [low, high] = [-10, 10];
    for (let i = 0; i < 200; i++) {
      const middle = (low + high) / 2;
      if (0.5 * (1 + erf(middle / Math.SQRT2)) < p) low = middle;
      else high = middle;
    }
    return low;
  };
  const offset = 0.9677083; // half of 1 - 1/32 and 1 - 1/30, the outermost probabilities of both sides
  const side = (n: number) => Array.from({ length: n }, (_, i) => quantile(offset + ((0.5 - offset) * i) / n));
  const levels = [...side(8), 0, ...side(7).map((x) => -x)].toSorted((a, b) => a - b);
  const most = Math.max(...levels);
  // Our erf is an approximation, good to 1e-7.
  for (const [i, level] of levels.entries()) expect(Math.abs(level / most - NF4_LEVELS[i]!)).toBeLessThan(1e-5);
});

test("int8: each value is the nearest of 255 steps of its row, or of its column", () => {
  const [rows, columns] = [7, 13];
  const values = matrix(rows, columns);
  for (const type of ["int8", "int8_columns"] as const) {
    const back = dequantize(type, [rows, columns], quantize(type, [rows, columns], values));
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const shared = values.filter((_, i) => (type === "int8" ? Math.floor(i / columns) === r : i % columns === c));
        const absmax = shared.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        const want = (Math.round((127 * values[r * columns + c]!) / absmax) * absmax) / 127;
        expect(Math.abs(back[r * columns + c]! - want)).toBeLessThan(1e-6 * absmax);
      }
    }
  }
});

test("nf4: each code is the nearest level in units of its block's absmax, the first of a byte in its upper half", () => {
  const values = matrix(5, 45); // 225: the last block is short
  const bytes = quantize("nf4", [5, 45], values);
  for (const [i, x] of values.entries()) {
    const block = values.subarray(i - (i % BLOCK), i - (i % BLOCK) + BLOCK);
    const absmax = block.reduce((most, y) => Math.max(most, Math.abs(y)), 0);
    const errors = NF4_LEVELS.map((level) => Math.abs(level - x / absmax));
    const code = (bytes[i >> 1]! >> (i % 2 === 0 ? 4 : 0)) & 15;
    expect(errors[code]!).toBe(Math.min(...errors));
  }
});

test("double quantization keeps a scale to a sixteenth of its distance from the group's mean", () => {
  const values = matrix(300, BLOCK); // 300 blocks: a group and a part of one
  const [rows, columns] = [300, BLOCK];
  const back = dequantize("nf4", [rows, columns], quantize("nf4", [rows, columns], values));
  const absmax = (from: Float32Array, block: number) =>
    from.subarray(block * BLOCK, (block + 1) * BLOCK).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  for (const [begin, end] of [
    [0, GROUP],
    [GROUP, rows],
  ] as const) {
    const own = Array.from({ length: end - begin }, (_, i) => absmax(values, begin + i));
    const mean = own.reduce((a, b) => a + b, 0) / own.length;
    // The largest of a block is the level 1 or -1: what it becomes is the scale.
    for (const [i, scale] of own.entries())
      expect(Math.abs(absmax(back, begin + i) - scale)).toBeLessThan(Math.abs(scale - mean) / 16 + 1e-5);
  }
});

test("E4M3: every code is its own nearest, and every number gets the nearest code", () => {
  const codes = Array.from({ length: 127 }, (_, code) => code);
  for (const code of codes) {
    expect(toE4M3(fromE4M3(code))).toBe(code);
    if (code > 0) expect(toE4M3(-fromE4M3(code))).toBe(code | 0x80);
  }
  for (let x = 1e-4; x <= 448; x *= 1.013) {
    const least = Math.min(...codes.map((code) => Math.abs(fromE4M3(code) - x)));
    expect(Math.abs(fromE4M3(toE4M3(x)) - x)).toBe(least);
  }
});

test("zeros stay zeros: a whole matrix of them, a row, a block among others", () => {
  for (const type of ["int8", "int8_columns", "nf4"] as const) {
    const zeros = new Float32Array(4 * BLOCK);
    expect(dequantize(type, [4, BLOCK], quantize(type, [4, BLOCK], zeros)).every((x) => x === 0)).toBe(true);
    const values = matrix(4, BLOCK).fill(0, BLOCK, 2 * BLOCK);
    const back = dequantize(type, [4, BLOCK], quantize(type, [4, BLOCK], values));
    expect(back.subarray(BLOCK, 2 * BLOCK).every((x) => x === 0)).toBe(true);
    expect(back.every((x) => Number.isFinite(x))).toBe(true);
  }
});

test("values near the ends of f32 keep finite", () => {
  for (const type of ["int8", "int8_columns", "nf4"] as const) {
    for (const size of [3e38, 1e-44]) {
      const values = matrix(2, BLOCK).map((x) => (size * x) / 16);
      const back = dequantize(type, [2, BLOCK], quantize(type, [2, BLOCK], values));
      expect(back.every((x) => Number.isFinite(x))).toBe(true);
    }
  }
});

test("a matrix larger than a piece is quantised as if it were whole", () => {
  const [rows, columns] = [3, PIECE / 2 + 40];
  const values = matrix(rows, columns);
  const source = { rows, columns, read: (begin: number, end: number) => values.subarray(begin, end) };
  for (const type of ["int8", "int8_columns", "nf4"] as const) {
    const scales = quantizeScales(type, source);
    const whole = new Uint8Array(quantizeElements(type, values, { begin: 0, columns, scales }).buffer);
    const pieces = quantize(type, [rows, columns], values);
    expect(Buffer.compare(pieces.subarray(0, whole.length), whole)).toBe(0);
    expect(pieces.length).toBe(weightBytes(type, [rows, columns]).total);
  }
});
