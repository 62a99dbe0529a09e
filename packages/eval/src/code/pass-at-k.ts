/**
 * The chance that at least one of k samples passes, estimated without bias from n samples of which c passed: 1 - C(n - c, k) / C(n, k), as a product, so that no
 * binomial is ever formed. Throws RangeError unless 0 <= c <= n and 1 <= k <= n. Chen et al. 2021, arXiv:2107.03374, eq. 1.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (![n, c, k].every(Number.isInteger) || c < 0 || c > n || k < 1)
    throw new RangeError(`pass@k: needs whole numbers with 0 <= c <= n and k >= 1, got n = ${n}, c = ${c}, k = ${k}`);
  if (k > n) throw new RangeError(`pass@${k} needs at least ${k} samples of each problem, got ${n}`);
  if (n - c < k) return 1;
  let noneOf = 1;
  for (let i = n - c + 1; i <= n; i++) noneOf *= 1 - k / i;
  return 1 - noneOf;
}
