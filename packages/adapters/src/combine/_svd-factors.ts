/** The two factors of a best approximation of low rank. */
import type { Random } from "@graft/core/random";
import {
  type Matrix,
  matrix,
  productSvd,
  scaledRows,
  type Svd,
  takeRows,
  topSvd,
  transposed,
} from "../linear-algebra.ts";
import { quantile } from "./_arithmetic.ts";

export interface Factors {
  /** [r, in] */
  readonly a: Matrix;
  /** [out, r] */
  readonly b: Matrix;
}

/** a = V^T, b = U S of the `rank` largest triplets; zeros where the matrix has fewer. */
export function factorsOfSvd({ ut, s, vt }: Svd, rank: number): Factors {
  const [a, scaled] = [matrix(rank, vt.columns), matrix(rank, ut.columns)];
  a.data.set(takeRows(vt, 0, Math.min(rank, vt.rows)).data);
  scaled.data.set(takeRows(scaledRows(ut, s), 0, Math.min(rank, ut.rows)).data);
  return { a, b: transposed(scaled) };
}

/** Of a whole matrix. */
export function denseFactors(delta: Matrix, rank: number, random: Random): Factors {
  return factorsOfSvd(topSvd(delta, Math.min(rank, delta.rows, delta.columns), random), rank);
}

/** Of a product b a, without making it. */
export function productFactors({ a, b }: Factors, rank: number): Factors {
  return factorsOfSvd(productSvd(b, a), rank);
}

/** Both factors cut to [-q, q], q being the quantile `fraction` of all values of both, with their signs. */
export function clampFactors({ a, b }: Factors, fraction: number): Factors {
  const all = new Float64Array(a.data.length + b.data.length);
  all.set(a.data);
  all.set(b.data, a.data.length);
  const limit = quantile(all, fraction);
  const cut = (m: Matrix): Matrix => ({ ...m, data: m.data.map((x) => Math.min(Math.max(x, -limit), limit)) });
  return { a: cut(a), b: cut(b) };
}
