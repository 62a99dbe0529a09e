import { expect, test } from "bun:test";
import { createBatches } from "./batches.ts";
import { collate } from "./collate.ts";
import { IGNORE } from "./tokenize.ts";

const example = (...ids: number[]) => ({ ids: Int32Array.from(ids), labels: Int32Array.from(ids) });

test("virtual tokens stand before each example, after the padding, without labels", () => {
  const batch = collate([[example(7, 8)], [example(4, 5, 6), example(9)]], { virtualTokens: 2, padToMultipleOf: 1 });
  const rows = (values: Int32Array) => [[...values.subarray(0, 8)], [...values.subarray(8)]];
  expect(batch.length).toBe(8);
  expect(rows(batch.inputIds)).toEqual([
    [0, 0, 0, 0, -1, -2, 7, 8],
    [-1, -2, 4, 5, 6, -1, -2, 9],
  ]);
  expect(rows(batch.positionIds)).toEqual([
    [0, 0, 0, 0, 0, 1, 2, 3],
    [0, 1, 2, 3, 4, 0, 1, 2],
  ]);
  expect(rows(batch.segmentIds)).toEqual([
    [0, 0, 0, 0, 1, 1, 1, 1],
    [1, 1, 1, 1, 1, 2, 2, 2],
  ]);
  const none = IGNORE;
  expect(rows(batch.labels)).toEqual([
    [none, none, none, none, none, none, none, 8],
    [none, none, none, 5, 6, none, none, none],
  ]);
  expect(batch.supervisedTokens).toBe(3);
});

test("packed rows have room for the virtual tokens of each of their examples", () => {
  const examples = [example(1, 2, 3), example(4, 5), example(6, 7), example(8)];
  const options = { batchSize: 1, seed: 0, shuffle: false, packLength: 8, padToMultipleOf: 1 };
  const plain = createBatches(examples, options);
  const prompted = createBatches(examples, { ...options, virtualTokens: 3 });
  expect(plain.batchesPerEpoch).toBe(1);
  expect(prompted.batchesPerEpoch).toBe(4);
  expect(prompted.fingerprint).not.toBe(plain.fingerprint);
  expect(() => createBatches(examples, { ...options, virtualTokens: 6 })).toThrow("has 9 tokens, a packed row holds 8");
});
