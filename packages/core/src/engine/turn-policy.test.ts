import { expect, test } from "bun:test";
import { Random } from "../random/index.ts";
import { MIN_TRAINING_SHARE, TurnPolicy } from "./turn-policy.ts";

/** Passes before the next turn is due. */
function passesUntilDue(policy: TurnPolicy, ms: number, share = 1): number {
  let passes = 0;
  for (; !policy.isDue; passes++) policy.passed(ms, share);
  return passes;
}

test("after a turn of M ms, passes of D ms go before the next one: M / (target - D) of them, rounded up", () => {
  const policy = new TurnPolicy({ targetMs: 100 });
  expect(policy.isDue).toBe(true);
  for (const [turn, pass] of [
    [200, 20],
    [10, 20],
    [81, 60],
    [1000, 90],
  ] as const) {
    policy.trained(turn, true);
    expect(passesUntilDue(policy, pass)).toBe(Math.ceil(turn / (100 - pass)));
  }
});

test("what nobody waited for is not paid for", () => {
  const policy = new TurnPolicy({ targetMs: 10 });
  policy.trained(5000, false);
  expect(policy.isDue).toBe(true);
});

test("passes that give a token to a part of the requests pay for that part alone", () => {
  const policy = new TurnPolicy({ targetMs: 100 });
  policy.trained(120, true);
  // Each request waits for two passes of 20 ms for a token.
  expect(passesUntilDue(policy, 20, 0.5)).toBe(4);
});

test("whatever passes and turns take, the mean time between tokens is under the target, or training has its least share", () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed);
    const targetMs = 20 + random.int(80);
    const policy = new TurnPolicy({ targetMs });
    const passMs = 1 + random.int(2 * targetMs);
    for (let turn = 0; turn < 50; turn++) {
      const turnMs = 1 + random.int(400);
      policy.trained(turnMs, true);
      const passes: number[] = [];
      while (!policy.isDue) {
        // A little longer or shorter each time.
        passes.push(passMs * (0.5 + random.uniform()));
        policy.passed(passes.at(-1)!, 1);
      }
      const decodingMs = passes.reduce((a, b) => a + b, 0);
      const isOnTarget = (turnMs + decodingMs) / passes.length <= targetMs + 1e-9;
      const leastMs = (1 / MIN_TRAINING_SHARE - 1) * turnMs;
      // Due as soon as one of the two holds.
      expect(isOnTarget || decodingMs >= leastMs, `seed ${seed}`).toBe(true);
      expect(decodingMs - passes.at(-1)!, `seed ${seed}`).toBeLessThan(leastMs);
    }
  }
});

test("training gets a twentieth of the time where passes are slower than the target", () => {
  const policy = new TurnPolicy({ targetMs: 10 });
  policy.trained(50, true);
  expect(passesUntilDue(policy, 25)).toBe(38);
});
