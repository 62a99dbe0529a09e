import { expect, test } from "bun:test";
import { Backoff } from "./backoff.ts";

test("waits double up to the longest, and begin again after a process that was well", () => {
  const backoff = new Backoff({ firstMs: 500, maxMs: 3000, wellAfterMs: 60_000 });
  expect([0, 59_999, 0, 0, 0].map((readyMs) => backoff.next(readyMs))).toEqual([500, 1000, 2000, 3000, 3000]);
  expect([60_000, 0].map((readyMs) => backoff.next(readyMs))).toEqual([500, 1000]);
});
