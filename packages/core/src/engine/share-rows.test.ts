import { expect, test } from "bun:test";
import { Random } from "../random/index.ts";
import { shareRows } from "./share-rows.ts";

const candidate = (number: number, pending: number, more: { lastPass?: number; served?: number } = {}) => ({
  number,
  pending,
  lastPass: 0,
  served: 0,
  ...more,
});

test("who decodes goes first, the oldest prompt gets half of the rest, and the least served adapter's what is left", () => {
  const decoding = [candidate(0, 1), candidate(1, 1)];
  const [oldest, served, modest] = [
    candidate(2, 100, { served: 50 }),
    candidate(3, 100, { served: 50 }),
    candidate(4, 6, { served: 1 }),
  ];
  expect([...shareRows([served, modest, ...decoding, oldest], 32)]).toEqual([
    [decoding[0]!, 1],
    [decoding[1]!, 1],
    [oldest, 24],
    [modest, 6],
  ]);
  // Prompts of one adapter one after the other.
  expect([...shareRows([served, oldest], 120)]).toEqual([
    [oldest, 100],
    [served, 20],
  ]);
});

test("where more decode than there are rows, those go first that were left out, and prompts get a quarter", () => {
  const decoding = Array.from({ length: 9 }, (_, i) => candidate(i, 1, { lastPass: i < 6 ? 4 : 3 }));
  expect([...shareRows(decoding, 4).keys()].map(({ number }) => number)).toEqual([6, 7, 8, 0]);
  const prompt = candidate(9, 30);
  expect(shareRows([...decoding, prompt], 8).get(prompt)).toBe(2);
  expect(shareRows([...decoding, prompt], 3).get(prompt)).toBeUndefined();
});

test("all rows are given that can be, and none to nobody", () => {
  for (let seed = 1; seed <= 300; seed++) {
    const random = new Random(seed);
    const candidates = Array.from({ length: random.int(9) }, (_, i) =>
      candidate(i, 1 + random.int(3) * random.int(9), { served: random.int(4), lastPass: random.int(5) }),
    );
    const maxRows = 1 + random.int(24);
    const shares = shareRows(candidates, maxRows);
    const given = [...shares.values()].reduce((a, b) => a + b, 0);
    for (const [{ pending }, tokens] of shares) {
      expect(tokens).toBeGreaterThan(0);
      expect(tokens).toBeLessThanOrEqual(pending);
    }
    const asked = candidates.reduce((sum, { pending }) => sum + pending, 0);
    const decoding = candidates.filter(({ pending }) => pending === 1).length;
    // Rows kept for prompts that are shorter stay empty.
    if (decoding <= maxRows - Math.floor(maxRows / 4)) expect(given, `seed ${seed}`).toBe(Math.min(asked, maxRows));
    expect(given).toBeLessThanOrEqual(maxRows);
  }
});
