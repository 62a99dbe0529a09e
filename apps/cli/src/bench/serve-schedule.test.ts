import { expect, test } from "bun:test";
import { adapterOfStream, serveCases, serveTurns } from "./serve-schedule.ts";

const cases = serveCases([32, 1, 8, 1], [4, 0, 16]);

test("every count of streams meets every count of adapters once, the fewest and the base first", () => {
  expect(cases.map(({ streams, adapters }) => `${streams}/${adapters}`)).toEqual(
    [1, 8, 32].flatMap((streams) => [0, 4, 16].map((adapters) => `${streams}/${adapters}`)),
  );
});

test("every case has one turn in every round, in an order that changes and depends on the seed alone", () => {
  const turns = serveTurns(cases, 6, 1, 3);
  const orders = Array.from({ length: 6 }, (_, r) => turns.filter(({ round }) => round === r).map((t) => t.case));
  for (const order of orders) expect(new Set(order)).toEqual(new Set(cases));
  for (const order of orders) expect(order).toHaveLength(cases.length);
  expect(new Set(orders.map((order) => JSON.stringify(order))).size).toBeGreaterThan(4);
  expect(serveTurns(cases, 6, 1, 3)).toEqual(turns);
  expect(serveTurns(cases, 6, 1, 4)).not.toEqual(turns);
  expect(serveTurns(cases, 2, 0, 3).every(({ round }) => round >= 0)).toBe(true);
});

test("in the warm-up, which comes first, each case meets each of its adapters", () => {
  const turns = serveTurns(cases, 2, 1, 3);
  const first = turns.findIndex(({ round }) => round >= 0);
  expect(turns.slice(first).every(({ round }) => round >= 0)).toBe(true);
  for (const one of cases) {
    const asked = turns
      .filter((turn) => turn.case === one && turn.round < 0)
      .flatMap(({ round }) => Array.from({ length: one.streams }, (_, s) => adapterOfStream(one, round, s)));
    expect(new Set(asked).size).toBe(Math.max(1, one.adapters));
  }
});

test("streams of a round have different adapters as far as there are any; the base's have none", () => {
  const asked = (streams: number, adapters: number, round: number) =>
    Array.from({ length: streams }, (_, stream) => adapterOfStream({ streams, adapters }, round, stream));
  expect(asked(4, 0, 0)).toEqual([undefined, undefined, undefined, undefined]);
  expect(asked(4, 2, -1)).toEqual([0, 1, 0, 1]);
  expect(asked(2, 4, 0)).toEqual([0, 1]);
  expect(asked(2, 4, 1)).toEqual([2, 3]);
  expect(asked(1, 3, -1)).toEqual([2]);
});
