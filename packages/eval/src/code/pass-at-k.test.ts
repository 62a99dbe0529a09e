import { expect, test } from "bun:test";
import { passAtK } from "./pass-at-k.ts";

function binomial(n: number, k: number): bigint {
  if (k > n) return 0n;
  let value = 1n;
  for (let i = 1; i <= k; i++) value = (value * BigInt(n - k + i)) / BigInt(i);
  return value;
}

test("pass@k equals the ratio of binomials in exact arithmetic, for every n up to 30", () => {
  const SCALE = 10n ** 30n;
  for (let n = 1; n <= 30; n++)
    for (let c = 0; c <= n; c++)
      for (let k = 1; k <= n; k++) {
        const all = binomial(n, k);
        const exact = Number(((all - binomial(n - c, k)) * SCALE) / all) / 1e30;
        expect(Math.abs(passAtK(n, c, k) - exact), `n ${n}, c ${c}, k ${k}`).toBeLessThan(1e-14);
      }
});

test("pass@k equals the share of all choices of k samples with a passing one among them", () => {
  for (let n = 1; n <= 8; n++)
    for (let c = 0; c <= n; c++)
      for (let k = 1; k <= n; k++) {
        // Bit i of a choice is sample i; the first c samples pass.
        const choices = Array.from({ length: 2 ** n }, (_, bits) => bits).filter((bits) => ones(bits) === k);
        const lucky = choices.filter((bits) => (bits & (2 ** c - 1)) !== 0);
        expect(passAtK(n, c, k)).toBeCloseTo(lucky.length / choices.length, 12);
      }
});

const ones = (bits: number): number => bits.toString(2).replaceAll("0", "").length;

test("pass@1 is the share that passed, and large n stays finite", () => {
  expect(passAtK(200, 37, 1)).toBeCloseTo(37 / 200, 14);
  expect(passAtK(100_000, 1, 50_000)).toBeCloseTo(0.5, 9);
  expect(passAtK(100, 0, 100)).toBe(0);
  expect(passAtK(100, 1, 100)).toBe(1);
});

test("what cannot be estimated is refused", () => {
  expect(() => passAtK(5, 1, 10)).toThrow("pass@10 needs at least 10 samples of each problem, got 5");
  expect(() => passAtK(5, 6, 1)).toThrow(
    "pass@k: needs whole numbers with 0 <= c <= n and k >= 1, got n = 5, c = 6, k = 1",
  );
  for (const [n, c, k] of [
    [5, -1, 1],
    [5, 1, 0],
    [5, 1.5, 1],
    [Number.NaN, 0, 1],
  ] as const)
    expect(() => passAtK(n, c, k)).toThrow(RangeError);
});
