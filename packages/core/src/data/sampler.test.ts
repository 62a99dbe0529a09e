import { expect, test } from "bun:test";
import { lengthGroupedOrder, shuffledOrder, splitValidation } from "./sampler.ts";

const all = (count: number) => Array.from({ length: count }, (_, i) => i);
const sorted = (order: readonly number[]) => order.toSorted((a, b) => a - b);

test("an epoch sees every row once; the order is the seed's, and another one in each epoch", () => {
  const order = shuffledOrder(100, 3, 0);
  expect(sorted(order)).toEqual(all(100));
  expect(shuffledOrder(100, 3, 0)).toEqual(order);
  expect(shuffledOrder(100, 3, 1)).not.toEqual(order);
  expect(shuffledOrder(100, 4, 0)).not.toEqual(order);
  expect(shuffledOrder(0, 1, 0)).toEqual([]);
});

test("grouped by length: every row once, the longest first, each megabatch falling", () => {
  const lengths = all(400).map((i) => 1 + ((i * 37) % 211));
  const order = lengthGroupedOrder(lengths, 4, 9, 0);
  expect(sorted(order)).toEqual(all(400));
  expect(lengths[order[0]!]).toBe(Math.max(...lengths));
  const megabatch = 4 * 25; // groups of 4 rows, a quarter of all groups
  for (let at = megabatch; at < 400; at += megabatch) {
    const own = order.slice(at, at + megabatch).map((i) => lengths[i]!);
    // The place of the longest row of all may hold what the first megabatch gave for it.
    expect(own.slice(1)).toEqual(own.slice(1).toSorted((a, b) => b - a));
  }
});

test("what is held out is drawn by the seed, and both parts keep the file's order", () => {
  const rows = all(50);
  const { train, validation } = splitValidation(rows, 10, 5);
  expect(validation.length).toBe(10);
  expect(sorted([...train, ...validation])).toEqual(rows);
  for (const part of [train, validation]) expect(part).toEqual(sorted(part));
  expect(splitValidation(rows, 10, 5)).toEqual({ train, validation });
  expect(splitValidation(rows, 10, 6).validation).not.toEqual(validation);
  expect(splitValidation(rows, 0.2, 5)).toEqual({ train, validation });
  expect(splitValidation(rows, 0, 5)).toEqual({ train: rows, validation: [] });
  expect(() => splitValidation(rows, 50, 5)).toThrow(
    "val_set_size 50 leaves nothing to train on: the data has 50 rows",
  );
  expect(() => splitValidation(rows, 1.5, 5)).toThrow("a whole number of rows or a fraction below 1, got 1.5");
});
