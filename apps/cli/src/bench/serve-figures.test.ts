import { expect, test } from "bun:test";
import { caseFigures, percentile, percentiles, rateRatio, type Round } from "./serve-figures.ts";

test("percentiles lie on the line between two values, as numpy's do", () => {
  expect(percentile([7], 0.99)).toBe(7);
  expect(percentile([4, 1, 3, 2], 0.5)).toBe(2.5);
  const hundred = Array.from({ length: 101 }, (_, i) => 100 - i);
  expect(percentiles(hundred)).toEqual({ p50: 50, p95: 95, p99: 99 });
  expect(percentile([10, 20], 0.95)).toBeCloseTo(19.5, 12);
  expect(() => percentile([], 0.5)).toThrow("there are no values");
});

const round = (seconds: number, ...gaps: number[][]): Round => ({
  seconds,
  streams: gaps.map((gapsMs, i) => ({ firstTokenMs: 10 * (i + 1), gapsMs, tokens: gapsMs.length + 1 })),
});

test("a case's rate is the median of its rounds', its latencies are those of all requests and tokens", () => {
  const rounds = [round(1, [1, 2], [3, 4]), round(3, [5, 6], [7, 8]), round(2, [9, 9], [9, 9])];
  expect(caseFigures({ streams: 2, adapters: 1 }, rounds)).toEqual({
    streams: 2,
    adapters: 1,
    tokensPerSecond: 3,
    firstTokenMs: { p50: 15, p95: 20 },
    betweenTokensMs: percentiles([1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]),
    rounds: 3,
  });
});

test("the ratio of two cases is the median over rounds, so that a slow round is in both", () => {
  const base = [round(1, [1]), round(10, [1]), round(2, [1])];
  const mixed = [round(2, [1]), round(20, [1]), round(2, [1])];
  expect(rateRatio(mixed, base)).toBe(0.5);
});
