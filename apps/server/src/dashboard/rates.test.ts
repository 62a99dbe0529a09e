import { expect, test } from "bun:test";
import { pushBounded, rateBetween } from "./rates.ts";

test("a rate is growth over time", () => {
  expect(rateBetween({ atMs: 1000, count: 10 }, { atMs: 3000, count: 50 })).toBe(20);
  expect(rateBetween({ atMs: 1000, count: 10 }, { atMs: 3000, count: 10 })).toBe(0);
});

test("there is no rate at first, after a restart, or between readings of the same time", () => {
  expect(rateBetween(undefined, { atMs: 0, count: 1 })).toBeNull();
  expect(rateBetween({ atMs: 0, count: 100 }, { atMs: 2000, count: 3 })).toBeNull();
  expect(rateBetween({ atMs: 5, count: 1 }, { atMs: 5, count: 9 })).toBeNull();
});

test("the newest are kept", () => {
  let items: readonly number[] = [];
  for (let i = 0; i < 7; i++) items = pushBounded(items, i, 3);
  expect(items).toEqual([4, 5, 6]);
});
