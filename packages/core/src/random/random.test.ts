import { expect, test } from "bun:test";
import { Random } from "./index.ts";

test("the numbers are those of O'Neill's pcg32-demo, on every platform", () => {
  const random = new Random(42, 54);
  const first = [0xa15c02b7, 0x7b47f409, 0xba1d3330, 0x83d2f293, 0xbfa4784b, 0xcbed606e];
  expect(first.map(() => random.uint32())).toEqual(first);
});

test("streams of one seed differ, a negative one too", () => {
  const starts = [-1, 0, 1, 2].map((stream) => new Random(7, stream).uint32());
  expect(new Set(starts).size).toBe(4);
});

test("a shuffle is an even draw from all orders", () => {
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 6000; seed++) {
    const order = new Random(seed).shuffle(["a", "b", "c"]).join("");
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  expect(counts.size).toBe(6);
  // 1000 expected of each, with a deviation of 29.
  for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
});
