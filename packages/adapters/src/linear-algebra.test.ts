import { Random } from "@graft/core/random";
import { describe, expect, test } from "bun:test";
import golden from "../test/fixtures/lora-init.json" with { type: "json" };
import {
  gaussian,
  type Matrix,
  matrix,
  multiply,
  multiplyTransposed,
  qr,
  type Svd,
  svd,
  takeRows,
  topSvd,
  transposed,
} from "./linear-algebra.ts";

const distance = (a: Matrix, b: Matrix): number => Math.hypot(...a.data.map((x, i) => x - b.data[i]!));
const identity = (size: number): Matrix =>
  matrix(
    size,
    size,
    Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0)),
  );
const product = ({ ut, s, vt }: Svd): Matrix =>
  multiply(
    matrix(
      ut.columns,
      s.length,
      transposed(ut).data.map((x, i) => x * s[i % s.length]!),
    ),
    vt,
  );
/** The matrix of the fixture: singular values in it are NumPy's, in float64. */
const sines = (rows: number, columns: number): Matrix =>
  matrix(
    rows,
    columns,
    Array.from({ length: rows * columns }, (_, at) =>
      Math.fround(Math.sin(0.7 * (Math.floor(at / columns) + 1) * ((at % columns) + 2))),
    ),
  );

const shapes = [
  [1, 1],
  [5, 5],
  [40, 23],
  [23, 40],
] as const;

describe.each(shapes)("%i x %i", (rows, columns) => {
  const a = gaussian(rows, columns, new Random(rows));
  const size = Math.min(rows, columns);

  test("QR: orthonormal times triangular gives the matrix; the first columns do not depend on how many are asked for", () => {
    const { q, r } = qr(a);
    expect(distance(multiply(transposed(q), q), identity(size))).toBeLessThan(1e-13);
    expect(distance(multiply(q, r), a)).toBeLessThan(1e-12);
    for (let row = 1; row < size; row++) for (let c = 0; c < row; c++) expect(r.data[row * columns + c]).toBe(0);
    const k = Math.ceil(size / 3);
    const first = qr(a, k);
    expect(distance(transposed(first.q), takeRows(transposed(q), 0, k))).toBeLessThan(1e-13);
    expect(distance(first.r, takeRows(r, 0, k))).toBeLessThan(1e-12);
  });

  test("SVD: orthonormal vectors, falling values, and they give the matrix", () => {
    const found = svd(a);
    expect(distance(multiplyTransposed(found.ut, found.ut), identity(size))).toBeLessThan(1e-12);
    expect(distance(multiplyTransposed(found.vt, found.vt), identity(size))).toBeLessThan(1e-12);
    expect([...found.s]).toEqual([...found.s].toSorted((x, y) => y - x));
    expect(distance(product(found), a)).toBeLessThan(1e-11);
  });
});

test.each(golden.cases)("$rows x $columns: singular values and the error of rank r are the reference's", (kase) => {
  const { rows, columns, singular_values: want } = kase;
  const a = sines(rows, columns);
  // The fixture's sine may differ from this one's in the last place.
  for (const [i, value] of svd(a).s.entries()) expect(Math.abs(value - want[i]!)).toBeLessThan(1e-6);
  for (const rank of [1, 4, 7]) {
    // Eckart & Young 1936: no matrix of this rank is nearer.
    const least = Math.hypot(...want.slice(rank));
    const found = topSvd(a, rank, new Random(1));
    expect(Math.abs(distance(product(found), a) - least)).toBeLessThan(1e-6);
    expect(distance(multiplyTransposed(found.ut, found.ut), identity(rank))).toBeLessThan(1e-12);
  }
});

test("the largest triplets of a matrix whose space is not exhausted; more passes come nearer", () => {
  const [rows, columns, rank] = [150, 120, 5];
  const full = svd(gaussian(rows, columns, new Random(7)));
  // Slowly falling values, as of a trained weight.
  const values = full.s.map((_, i) => 1 / (1 + 0.1 * i));
  const a = product({ ...full, s: values });
  const least = Math.hypot(...values.slice(rank));
  const excess = (iterations?: number) => distance(product(topSvd(a, rank, new Random(2), iterations)), a) / least - 1;
  expect(Math.abs(excess())).toBeLessThan(1e-10);
  expect(excess(0)).toBeGreaterThan(excess(1));
  expect(excess(1)).toBeGreaterThan(excess(2));
  expect(excess(0)).toBeLessThan(0.2);
  expect(excess(2)).toBeLessThan(1e-2);
});

test("matrices without full rank: zeros, equal values, one direction", () => {
  expect([...topSvd(matrix(6, 9), 3, new Random(1)).s]).toEqual([0, 0, 0]);
  for (const value of topSvd(identity(30), 3, new Random(1)).s) expect(value).toBeCloseTo(1, 12);
  const direction = multiply(gaussian(20, 1, new Random(3)), gaussian(1, 30, new Random(4)));
  const found = topSvd(direction, 4, new Random(5));
  expect(distance(product(found), direction)).toBeLessThan(1e-12);
  expect(found.s[1]).toBeLessThan(1e-12);
});
