import { expect, test } from "bun:test";
import { Random } from "../random/index.ts";
import { PagePool } from "./page-pool.ts";

test("pages are free, held or idle, and the idle one that was released first is given away first", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed);
    const evicted: number[] = [];
    const pool = new PagePool(9, (page) => evicted.push(page));
    const holders = new Map<number, number>();
    const kept = new Set<number>();
    /** In the order of their release. */
    const idle: number[] = [];
    for (let i = 0; i < 400; i++) {
      const held = [...holders.keys()];
      const some = held[random.int(Math.max(1, held.length))];
      switch (random.int(4)) {
        case 0: {
          const isFull = holders.size + idle.length === 9;
          const page = pool.take();
          if (holders.size === 9) expect(page).toBeUndefined();
          else if (isFull) {
            const oldest = idle.shift()!;
            expect(page).toBe(oldest);
            expect(evicted.at(-1)).toBe(oldest);
            kept.delete(oldest);
          } else expect(holders.has(page!) || idle.includes(page!)).toBe(false);
          if (page !== undefined) holders.set(page, 1);
          break;
        }
        case 1: {
          const page = random.int(2) === 0 ? some : idle[0];
          if (page === undefined) break;
          pool.share(page);
          holders.set(page, (holders.get(page) ?? 0) + 1);
          if (idle.includes(page)) idle.splice(idle.indexOf(page), 1);
          break;
        }
        case 2:
          if (some === undefined) break;
          pool.release(some);
          holders.set(some, holders.get(some)! - 1);
          if (holders.get(some)! > 0) break;
          holders.delete(some);
          if (kept.has(some)) idle.push(some);
          break;
        default:
          if (some === undefined) break;
          pool.keep(some);
          kept.add(some);
      }
      expect([pool.held, pool.idle, pool.available], `seed ${seed}`).toEqual([
        holders.size,
        idle.length,
        9 - holders.size,
      ]);
    }
  }
});

test("a page without a holder can be neither shared, released nor kept", () => {
  const pool = new PagePool(2);
  expect(() => pool.share(1)).toThrow("page 1 is free and cannot be shared");
  expect(() => pool.release(1)).toThrow("page 1 has no holder to be released by");
  expect(() => pool.keep(1)).toThrow("page 1 has no holder and cannot be kept");
});
