import { expect, test } from "bun:test";
import { slots } from "./slots.ts";

test("never more at a time than there are slots, each with its own number, in the order of asking", async () => {
  const withSlot = slots(2);
  const gates = Array.from({ length: 6 }, () => Promise.withResolvers<void>());
  const busy = new Set<number>();
  const begun: number[] = [];
  const all = gates.map((gate, i) =>
    withSlot(async (slot) => {
      expect(busy.has(slot)).toBe(false);
      busy.add(slot);
      expect(busy.size).toBeLessThanOrEqual(2);
      begun.push(i);
      await gate.promise;
      busy.delete(slot);
      return i;
    }),
  );
  for (const gate of gates) gate.resolve();
  expect(await Promise.all(all)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5]);
});

test("whoever gives up while waiting loses no slot, and work that fails gives its slot back", async () => {
  const withSlot = slots(1);
  const gate = Promise.withResolvers<void>();
  const first = withSlot(() => gate.promise);
  const giveUp = new AbortController();
  const second = withSlot(() => Promise.resolve("never"), giveUp.signal);
  const third = withSlot(() => Promise.reject(new Error("broken")));
  const fourth = withSlot((slot) => Promise.resolve(slot));
  giveUp.abort(new Error("enough"));
  await expect(second).rejects.toThrow("enough");
  gate.resolve();
  await first;
  await expect(third).rejects.toThrow("broken");
  expect(await fourth).toBe(0);
  await expect(withSlot(() => Promise.resolve(1), AbortSignal.abort(new Error("late")))).rejects.toThrow("late");
});
