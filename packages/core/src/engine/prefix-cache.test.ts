import { expect, test } from "bun:test";
import { PrefixCache } from "./prefix-cache.ts";

/** Keeps the full pages of some ids, and lets go of them. */
function fill(cache: PrefixCache, version: string, ids: readonly number[]): number[] {
  const chain = cache.match(version, ids, Math.floor(ids.length / cache.pageSize));
  for (const { page } of chain) cache.pool.share(page);
  while ((chain.length + 1) * cache.pageSize <= ids.length)
    chain.push(cache.add(cache.pool.take()!, version, chain.at(-1), ids, chain.length * cache.pageSize));
  const pages = chain.map(({ page }) => page);
  for (const page of pages.toReversed()) cache.pool.release(page);
  return pages;
}

const found = (cache: PrefixCache, version: string, ids: readonly number[], most = 99) =>
  cache.match(version, ids, Math.min(most, Math.floor(ids.length / cache.pageSize))).map(({ page }) => page);

test("a page is found behind the same pages of the same version alone", () => {
  const cache = new PrefixCache(20, 2);
  const pages = fill(cache, "v", [1, 2, 3, 4, 5, 6]);
  expect(found(cache, "v", [1, 2, 3, 4, 5, 6, 7])).toEqual(pages);
  expect(found(cache, "v", [1, 2, 3, 4, 5, 6], 2)).toEqual(pages.slice(0, 2));
  expect(found(cache, "v", [1, 2, 3, 4, 6, 5])).toEqual(pages.slice(0, 2));
  expect(found(cache, "v", [3, 4, 5, 6])).toEqual([]);
  expect(found(cache, "w", [1, 2, 3, 4])).toEqual([]);
  expect(found(cache, "", [1, 2])).toEqual([]);
  // Virtual tokens have ids below 0.
  const prefixed = fill(cache, "v", [-1, -2, 1, 2]);
  expect(found(cache, "v", [-1, -2, 1, 2])).toEqual(prefixed);
  expect(found(cache, "v", [1, 2])).toEqual(pages.slice(0, 1));
});

test("content that is there already is named instead of being kept twice", () => {
  const cache = new PrefixCache(4, 2);
  const [page] = fill(cache, "", [1, 2]);
  const again = cache.pool.take()!;
  expect(cache.add(again, "", undefined, [1, 2], 0).page).toBe(page!);
  cache.pool.release(again);
  expect([cache.pool.held, cache.pool.idle]).toEqual([0, 1]);
});

test("what was not used for longest is given away from its end, and what is left is still found", () => {
  const cache = new PrefixCache(6, 1);
  const common = fill(cache, "", [1, 2, 3, 4]);
  const branch = fill(cache, "", [1, 2, 9, 9]);
  expect(branch.slice(0, 2)).toEqual(common.slice(0, 2));
  // Four of one, and two more of the other: all pages are idle.
  expect(cache.pool.idle).toBe(6);
  const taken = [cache.pool.take()!, cache.pool.take()!];
  expect(taken).toEqual([common[3]!, common[2]!]);
  expect(found(cache, "", [1, 2, 3, 4])).toEqual(common.slice(0, 2));
  expect(found(cache, "", [1, 2, 9, 9])).toEqual(branch);
  const rest = [cache.pool.take()!, cache.pool.take()!, cache.pool.take()!, cache.pool.take()!];
  expect(rest).toEqual(branch.toReversed());
  expect(cache.pool.take()).toBeUndefined();
  expect(found(cache, "", [1, 2])).toEqual([]);
});

test("ids whose hashes are equal are told apart, and what stands behind them", () => {
  const cache = new PrefixCache(6, 2);
  // The hash of two ids is (h * p ^ b) * p of h = (seed ^ a): choose b for another a so that it is the same.
  const prime = 0x01000193;
  const step = (hash: number, value: number) => Math.imul(hash ^ value, prime) | 0;
  const [a, b, other] = [5, 6, 7];
  const b2 = step(0x811c9dc5, a) ^ b ^ step(0x811c9dc5, other);
  expect(step(step(0x811c9dc5, a), b)).toBe(step(step(0x811c9dc5, other), b2));
  const [first] = fill(cache, "", [a, b]);
  expect(found(cache, "", [other, b2])).toEqual([]);
  const [second] = fill(cache, "", [other, b2]);
  expect(found(cache, "", [a, b])).toEqual([first!]);
  expect(found(cache, "", [other, b2])).toEqual([second!]);
  // All hashes of both chains are equal from here on.
  const longer = fill(cache, "", [a, b, 1, 2]);
  expect(found(cache, "", [other, b2, 1, 2])).toEqual([second!]);
  const otherLonger = fill(cache, "", [other, b2, 1, 2]);
  expect(found(cache, "", [a, b, 1, 2])).toEqual(longer);
  expect(found(cache, "", [other, b2, 1, 2])).toEqual(otherLonger);
  expect(new Set([...longer, ...otherLonger]).size).toBe(4);
});
