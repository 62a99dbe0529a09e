/**
 * Factorisations of dense matrices on the host, in double precision, for initial values that are read off a base's weights.
 * Matrices are row-major; the loops run along rows, also where the textbook runs along columns.
 */
import type { Random } from "@graft/core/random";

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** Singular triplets, largest first: a is near the sum of s[i] ut[i] vt[i]. Vectors lie in the rows of ut: [k, a.rows] and vt: [k, a.columns]. */
export interface Svd {
  readonly ut: Matrix;
  readonly s: Float64Array;
  readonly vt: Matrix;
}

/** `data` as a matrix; zeros if there is none. */
export function matrix(rows: number, columns: number, data: ArrayLike<number> = []): Matrix {
  const own = new Float64Array(rows * columns);
  own.set(data);
  return { rows, columns, data: own };
}

/** Independent standard normal values. */
export function gaussian(rows: number, columns: number, random: Random): Matrix {
  return matrix(
    rows,
    columns,
    Float64Array.from({ length: rows * columns }, () => random.normal()),
  );
}

export function transposed({ rows, columns, data }: Matrix): Matrix {
  const out = matrix(columns, rows);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out.data[c * rows + r] = data[r * columns + c]!;
  return out;
}

/** Rows start, start + step, ... before end. */
export function takeRows(a: Matrix, start: number, end: number, step = 1): Matrix {
  const kept = Array.from({ length: Math.max(0, Math.ceil((end - start) / step)) }, (_, i) => start + i * step);
  const out = matrix(kept.length, a.columns);
  for (const [i, row] of kept.entries())
    out.data.set(a.data.subarray(row * a.columns, (row + 1) * a.columns), i * a.columns);
  return out;
}

/** The first `count` columns. */
export function takeColumns(a: Matrix, count: number): Matrix {
  return transposed(takeRows(transposed(a), 0, count));
}

/** a b. a: [m, k]; b: [k, n]; quick where a has few rows, for each row of b is read once. */
export function multiply(a: Matrix, b: Matrix): Matrix {
  const out = matrix(a.rows, b.columns);
  const n = b.columns;
  for (let k = 0; k < a.columns; k++) {
    for (let r = 0; r < a.rows; r++) addScaled(out.data, r * n, a.data[r * a.columns + k]!, b.data, k * n, n);
  }
  return out;
}

/** a b^T. a: [m, k]; b: [n, k]; quick where a has few rows. */
export function multiplyTransposed(a: Matrix, b: Matrix): Matrix {
  const out = matrix(a.rows, b.rows);
  for (let c = 0; c < b.rows; c++) {
    for (let r = 0; r < a.rows; r++)
      out.data[r * b.rows + c] = dot(a.data, r * a.columns, b.data, c * b.columns, a.columns);
  }
  return out;
}

export function identity(size: number): Matrix {
  const out = matrix(size, size);
  for (let i = 0; i < size; i++) out.data[i * size + i] = 1;
  return out;
}

/** a^-1 by Gauss and Jordan's elimination without pivoting: for a whose symmetric part is positive definite. */
export function inverseOf(a: Matrix): Matrix {
  const n = a.rows;
  const out = matrix(n, n, a.data);
  const { data } = out;
  for (let k = 0; k < n; k++) {
    const pivot = 1 / data[k * n + k]!;
    for (let j = 0; j < n; j++) data[k * n + j] = j === k ? pivot : data[k * n + j]! * pivot;
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = data[i * n + k]!;
      data[i * n + k] = 0;
      addScaled(data, i * n, -factor, data, k * n, n);
    }
  }
  return out;
}

/** a + scale b, of one shape. */
export function added(a: Matrix, b: Matrix, scale = 1): Matrix {
  return { ...a, data: a.data.map((x, at) => x + scale * b.data[at]!) };
}

/** Products entry by entry, of one shape. */
export function hadamard(a: Matrix, b: Matrix): Matrix {
  return { ...a, data: a.data.map((x, at) => x * b.data[at]!) };
}

/** Blocks a[r, c] b: [a.rows b.rows, a.columns b.columns]. */
export function kronecker(a: Matrix, b: Matrix): Matrix {
  const out = matrix(a.rows * b.rows, a.columns * b.columns);
  for (let at = 0; at < out.data.length; at++) {
    const [row, column] = [Math.floor(at / out.columns), at % out.columns];
    const ofA = a.data[Math.floor(row / b.rows) * a.columns + Math.floor(column / b.columns)]!;
    out.data[at] = ofA * b.data[(row % b.rows) * b.columns + (column % b.columns)]!;
  }
  return out;
}

/** Row r times factors[r]. */
export function scaledRows(a: Matrix, factors: ArrayLike<number>): Matrix {
  return { ...a, data: a.data.map((x, at) => x * factors[Math.floor(at / a.columns)]!) };
}

/** Column c times factors[c]. */
export function scaledColumns(a: Matrix, factors: ArrayLike<number>): Matrix {
  return { ...a, data: a.data.map((x, at) => x * factors[at % a.columns]!) };
}

/**
 * The first k columns of Q and the first k rows of R of a = Q R (Householder; Golub & Van Loan 2013, 5.2.2): q [m, k] has orthonormal columns, r [k, n] is upper triangular.
 * k is at most min(m, n) and costs 4 k m n.
 */
export function qr(a: Matrix, k = Math.min(a.rows, a.columns)): { readonly q: Matrix; readonly r: Matrix } {
  const work = matrix(a.rows, a.columns, a.data);
  const reflectors: Float64Array[] = [];
  for (let step = 0; step < k; step++) {
    const v = new Float64Array(a.rows);
    for (let row = step; row < a.rows; row++) v[row] = work.data[row * a.columns + step]!;
    const norm = Math.sqrt(dot(v, step, v, step, a.rows - step));
    v[step] = v[step]! + (v[step]! < 0 ? -norm : norm);
    // H = I - v v^T with |v|^2 = 2; a column of zeros needs no reflection.
    const length = Math.sqrt(dot(v, step, v, step, a.rows - step));
    if (length > 0) for (let row = step; row < a.rows; row++) v[row] = v[row]! * (Math.SQRT2 / length);
    reflect(work, v, step);
    for (let row = step + 1; row < a.rows; row++) work.data[row * a.columns + step] = 0;
    reflectors.push(v);
  }
  const q = matrix(a.rows, k);
  for (let i = 0; i < k; i++) q.data[i * k + i] = 1;
  for (const [step, v] of [...reflectors.entries()].toReversed()) reflect(q, v, step);
  return { q, r: takeRows(work, 0, k) };
}

/**
 * All min(m, n) singular triplets: QR first, then one-sided Jacobi rotations on the triangle (Drmač & Veselić 2008). Vectors that belong to a singular value of zero are zero or noise on the right.
 * Cost rises with the cube of min(m, n). Throws Error if the rotations do not settle, which is not known to happen to finite numbers.
 */
export function svd(a: Matrix): Svd {
  if (a.rows > a.columns) {
    const { ut, s, vt } = svd(transposed(a));
    return { ut: vt, s, vt: ut };
  }
  const size = a.rows;
  const { q, r } = qr(transposed(a)); // a = r^T q^T
  const scaled = transposed(r); // becomes diag(s) times right vectors
  const turned = matrix(size, size);
  for (let i = 0; i < size; i++) turned.data[i * size + i] = 1;
  let isSettled = false;
  for (let sweep = 0; sweep < 60 && !isSettled; sweep++) {
    isSettled = true;
    for (let i = 0; i < size; i++)
      for (let j = i + 1; j < size; j++) if (rotate(scaled, turned, i, j)) isSettled = false;
  }
  if (!isSettled) throw new Error(`svd: rotations of a [${a.rows},${a.columns}] matrix do not settle`);
  const lengths = Float64Array.from({ length: size }, (_, i) =>
    Math.sqrt(dot(scaled.data, i * size, scaled.data, i * size, size)),
  );
  const order = [...lengths.keys()].toSorted((x, y) => lengths[y]! - lengths[x]!);
  const [ut, right] = [matrix(size, size), matrix(size, size)];
  for (const [to, from] of order.entries()) {
    addScaled(ut.data, to * size, 1, turned.data, from * size, size);
    if (lengths[from]! > 0) addScaled(right.data, to * size, 1 / lengths[from]!, scaled.data, from * size, size);
  }
  return { ut, s: Float64Array.from(order, (i) => lengths[i]!), vt: multiplyTransposed(right, q) };
}

/** All singular triplets of b a that the inner dimension allows, from the SVD of a matrix of that size: quick where it is small. b: [m, k]; a: [k, n]. */
export function productSvd(b: Matrix, a: Matrix): Svd {
  const [left, right] = [qr(b), qr(transposed(a))]; // b a = Q_b R_b R_a^T Q_a^T
  const core = svd(multiplyTransposed(left.r, right.r));
  return {
    ut: multiplyTransposed(core.ut, left.q),
    s: core.s,
    vt: multiplyTransposed(core.vt, right.q),
  };
}

/** Square root of the sum of squares. */
export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

/** Directions beyond those asked for, so that the last of them are found as well as the first (Halko et al. 2011, 4.2). */
const OVERSAMPLING = 8;

/**
 * The `rank` largest singular triplets of a big matrix, from the block Krylov space of a random start (Musco & Musco 2015, arXiv:1504.05477, algorithm 2): orthonormal rows that span
 * g a^T, g a^T (a a^T), ... It contains what as many passes of subspace iteration (Halko, Martinsson & Tropp 2011, arXiv:0909.4061, algorithm 4.4) would find.
 * `iterations` passes over a after the first; without it as many as bring |a v - s u| under 1e-7 (f32) of the largest s, at most until the space is whole and the result exact.
 */
export function topSvd(a: Matrix, rank: number, random: Random, iterations?: number): Svd {
  const most = Math.min(a.rows, a.columns);
  const width = Math.min(rank + OVERSAMPLING, most);
  let basis = matrix(0, a.rows);
  let image = matrix(0, a.columns); // basis a
  let block = multiplyTransposed(gaussian(width, a.columns, random), a); // [width, a.rows]
  let lookAt = 0;
  for (let pass = 0; ; pass++) {
    const fresh = orthonormalRows(takeRows(block, 0, Math.min(width, most - basis.rows)), basis);
    const freshImage = multiply(fresh, a);
    basis = stack(basis, fresh);
    image = stack(image, freshImage);
    const isLast = basis.rows === most || pass === iterations;
    // The small problem grows with the cube of the space: it is not solved after every pass.
    if (isLast || (iterations === undefined && basis.rows >= lookAt)) {
      lookAt = 1.25 * basis.rows;
      const small = svd(image);
      const found = {
        ut: multiply(takeRows(small.ut, 0, rank), basis),
        s: small.s.slice(0, rank),
        vt: takeRows(small.vt, 0, rank),
      };
      if (isLast || residual(a, found) <= 1e-7 * found.s[0]!) return found;
    }
    block = multiplyTransposed(freshImage, a);
  }
}

/** Largest |a v - s u| of the triplets. */
function residual(a: Matrix, { ut, s, vt }: Svd): number {
  const av = multiplyTransposed(vt, a); // [rank, a.rows]
  let worst = 0;
  for (let i = 0; i < s.length; i++) {
    addScaled(av.data, i * a.rows, -s[i]!, ut.data, i * a.rows, a.rows);
    worst = Math.max(worst, dot(av.data, i * a.rows, av.data, i * a.rows, a.rows));
  }
  return Math.sqrt(worst);
}

/** Orthonormal rows that span what `block` adds to `basis`. Twice, because once leaves the rounding of what was taken away. */
function orthonormalRows(block: Matrix, basis: Matrix): Matrix {
  let rows = block;
  for (let time = 0; time < 2; time++) {
    const inside = multiply(multiplyTransposed(rows, basis), basis);
    const outside = matrix(rows.rows, rows.columns, rows.data);
    addScaled(outside.data, 0, -1, inside.data, 0, inside.data.length);
    rows = transposed(qr(transposed(outside)).q);
  }
  return rows;
}

function stack(above: Matrix, below: Matrix): Matrix {
  const out = matrix(above.rows + below.rows, below.columns, above.data);
  out.data.set(below.data, above.data.length);
  return out;
}

/** a - v v^T a, on rows from `start` on, in place. */
function reflect(a: Matrix, v: Float64Array, start: number): void {
  const n = a.columns;
  const sums = new Float64Array(n); // v^T a
  for (let row = start; row < a.rows; row++) addScaled(sums, 0, v[row]!, a.data, row * n, n);
  for (let row = start; row < a.rows; row++) addScaled(a.data, row * n, -v[row]!, sums, 0, n);
}

/** Turns rows i and j of `a` so that they are orthogonal, and those of `turned` with them. False if they were. */
function rotate(a: Matrix, turned: Matrix, i: number, j: number): boolean {
  const n = a.columns;
  const x = dot(a.data, i * n, a.data, i * n, n);
  const y = dot(a.data, j * n, a.data, j * n, n);
  const cross = dot(a.data, i * n, a.data, j * n, n);
  if (!(Math.abs(cross) > 1e-15 * Math.sqrt(x) * Math.sqrt(y))) return false;
  const zeta = (y - x) / (2 * cross);
  const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
  const cosine = 1 / Math.hypot(1, tangent);
  for (const m of [a, turned]) {
    for (let k = 0; k < m.columns; k++) {
      const [p, q] = [m.data[i * m.columns + k]!, m.data[j * m.columns + k]!];
      m.data[i * m.columns + k] = cosine * (p - tangent * q);
      m.data[j * m.columns + k] = cosine * (tangent * p + q);
    }
  }
  return true;
}

function dot(a: Float64Array, at: number, b: Float64Array, bt: number, count: number): number {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += a[at + i]! * b[bt + i]!;
  return sum;
}

/** to[at...] += factor * from[bt...]. */
function addScaled(to: Float64Array, at: number, factor: number, from: Float64Array, bt: number, count: number): void {
  for (let i = 0; i < count; i++) to[at + i] = to[at + i]! + factor * from[bt + i]!;
}
