/** Orthogonal matrices from skew-symmetric ones, in the graph and on the host: what OFT and BOFT turn inputs with. */
import type { Tensor } from "@graft/core/graph";
import { add, addColumns, einsum, inverse, reshape, scale } from "@graft/core/ops";
import { added, identity, inverseOf, type Matrix, matrix, multiply } from "../linear-algebra.ts";
import { identityConstant } from "./_identity.ts";

/** How a rotation R comes from a skew-symmetric S. */
export type Rotation =
  /** Exactly: R = (1 - S) (1 + S)^-1 = 2 (1 + S)^-1 - 1. */
  | { readonly kind: "cayley" }
  /** The first terms of that for -S, with (1 - S)^-1 as a series (PEFT's use_cayley_neumann). */
  | { readonly kind: "series"; readonly coefficients: readonly number[] };

/** Coefficients of 1, S, S^2, ...: (1, 2, 2, .., 2, 1) as PEFT ends its series, which has S^3 from three terms on. */
export function neumannSeries(terms: number): readonly number[] {
  if (terms < 3) return [1, 2].slice(0, terms);
  const last = Math.max(3, terms - 1);
  return Array.from({ length: last + 1 }, (_, power) => (power === 0 || power === last ? 1 : 2));
}

/** s: [count, size, size], skew-symmetric; result alike. */
export function rotationOf(s: Tensor, rotation: Rotation): Tensor {
  const size = s.shape[1]!;
  const plusIdentity = (x: Tensor, factor: number): Tensor =>
    reshape(
      addColumns(
        reshape(x, [s.shape[0]!, size * size]),
        reshape(identityConstant(s.graph, size, factor), [size * size]),
      ),
      s.shape,
    );
  if (rotation.kind === "cayley") return plusIdentity(scale(inverse(plusIdentity(s, 1)), 2), -1);
  const [constant, ...rest] = rotation.coefficients as [number, ...number[]];
  let sum = scale(s, rest[0] ?? 0);
  let power = s;
  for (const coefficient of rest.slice(1)) {
    power = einsum("mij,mjk->mik", power, s);
    sum = add(sum, scale(power, coefficient));
  }
  return plusIdentity(sum, constant);
}

/** The same of one matrix on the host. */
export function rotationOnHost(s: Matrix, rotation: Rotation): Matrix {
  const one = identity(s.rows);
  if (rotation.kind === "cayley") {
    const half = inverseOf(added(one, s));
    return added(half, added(half, one, -1)); // 2 (1 + S)^-1 - 1
  }
  let sum = matrix(s.rows, s.rows);
  let power = one;
  for (const coefficient of rotation.coefficients) {
    sum = added(sum, power, coefficient);
    power = multiply(power, s);
  }
  return sum;
}

/**
 * W M^T for a block-diagonal M, block by block. `columnOf(block, i)` is the column that is entry i of a block; `blocks`: one rotation for each, or one for all.
 */
export function turnColumns(
  weight: Matrix,
  blocks: readonly Matrix[],
  columnOf: (block: number, i: number) => number,
): Matrix {
  const size = blocks[0]!.rows;
  const out = matrix(weight.rows, weight.columns);
  for (let block = 0; block < weight.columns / size; block++) {
    const { data: m } = blocks[blocks.length === 1 ? 0 : block]!;
    const columns = Array.from({ length: size }, (_, i) => columnOf(block, i));
    for (let row = 0; row < weight.rows; row++) {
      const begin = row * weight.columns;
      for (let j = 0; j < size; j++) {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += weight.data[begin + columns[i]!]! * m[j * size + i]!;
        out.data[begin + columns[j]!] = sum;
      }
    }
  }
  return out;
}
