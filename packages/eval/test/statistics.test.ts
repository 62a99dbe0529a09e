import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { bootstrap, mcnemar, mean, meanInterval, meanStderr, pairedBootstrap } from "../src/statistics.ts";

test("the standard error of a mean of zeros and ones is lm-evaluation-harness's", () => {
  const values = [1, 1, 1, 0, 0, 1, 0, 1];
  const p = 5 / 8;
  expect(meanStderr(values)).toBeCloseTo(Math.sqrt((p * (1 - p)) / 7), 12);
  expect(meanStderr([1])).toBe(0);
  expect(meanStderr([0.5, 0.5, 0.5])).toBe(0);
});

test("McNemar's p is the exact binomial one", () => {
  // Counted by hand: 2 (C(10,0) + C(10,1) + C(10,2)) / 2^10.
  const [a, b] = pairs({ both: 5, onlyA: 2, onlyB: 8, neither: 3 });
  expect(mcnemar(a, b)).toMatchObject({ both: 5, onlyA: 2, onlyB: 8, neither: 3 });
  expect(mcnemar(a, b).pValue).toBeCloseTo((2 * (1 + 10 + 45)) / 1024, 12);
  expect(mcnemar(a, a).pValue).toBe(1);
  // As many on each side: no more than 1.
  expect(mcnemar(...pairs({ both: 0, onlyA: 3, onlyB: 3, neither: 0 })).pValue).toBe(1);
  expect(mcnemar(...pairs({ both: 0, onlyA: 0, onlyB: 2000, neither: 0 })).pValue).toBeLessThan(1e-300);
  expect(() => mcnemar([1], [])).toThrow("same docs on both sides, got 1 and 0");
});

function pairs({
  both,
  onlyA,
  onlyB,
  neither,
}: Record<"both" | "onlyA" | "onlyB" | "neither", number>): [number[], number[]] {
  const column = (counts: readonly [number, number][]) =>
    counts.flatMap(([n, value]) => Array.from({ length: n }, () => value));
  return [
    column([
      [both, 1],
      [onlyA, 1],
      [onlyB, 0],
      [neither, 0],
    ]),
    column([
      [both, 1],
      [onlyA, 0],
      [onlyB, 1],
      [neither, 0],
    ]),
  ];
}

test("the interval of zeros and ones is the one that drawing gives", () => {
  const values = Array.from({ length: 200 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  const drawn = bootstrap(values, mean, { resamples: 4000, seed: 1 }).interval;
  const computed = meanInterval(values);
  expect(Math.abs(computed[0] - drawn[0])).toBeLessThanOrEqual(0.0101);
  expect(Math.abs(computed[1] - drawn[1])).toBeLessThanOrEqual(0.0101);
  expect(meanInterval([1, 1, 1])).toEqual([1, 1]);
  expect(meanInterval([0, 0])).toEqual([0, 0]);
});

test("95 % intervals hold the true mean about 95 times in 100, and the same seed gives the same one", () => {
  const random = new Random(3);
  let held = 0;
  for (let round = 0; round < 200; round++) {
    const values = Array.from({ length: 60 }, () => random.normal() + 2);
    const [low, high] = meanInterval(values, { seed: round, resamples: 400 });
    if (low <= 2 && 2 <= high) held++;
  }
  expect(held).toBeGreaterThanOrEqual(178);
  expect(held).toBeLessThanOrEqual(199);
  const some = Array.from({ length: 30 }, () => random.normal());
  expect(meanInterval(some, { seed: 9 })).toEqual(meanInterval(some, { seed: 9 }));
});

test("a paired bootstrap sees a difference that is there and none that is not", () => {
  const random = new Random(5);
  const a = Array.from({ length: 100 }, () => random.normal());
  const shifted = a.map((x) => x + 0.5 + 0.1 * random.normal());
  const found = pairedBootstrap(a, shifted);
  expect(found.difference).toBeCloseTo(0.5, 1);
  expect(found.pValue).toBeLessThan(0.05);
  expect(found.interval[0]).toBeGreaterThan(0);
  const noisy = a.map((x) => x + random.normal());
  expect(pairedBootstrap(a, noisy).pValue).toBeGreaterThan(0.05);
});
