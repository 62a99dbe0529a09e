import { expect, test } from "bun:test";
import { logSoftmax } from "../generate/index.ts";
import { Random } from "../random/index.ts";
import { tokenLogprob } from "./_token-logprob.ts";

test("the likeliest tokens are those of the sorted vocabulary, equal ones by id", () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new Random(seed);
    // Many are equal.
    const logits = Float32Array.from({ length: 40 }, () => random.int(9) / 3);
    const logs = logSoftmax(logits);
    const order = [...logs.keys()].toSorted((a, b) => logs[b]! - logs[a]! || a - b);
    const top = random.int(45);
    const id = random.int(40);
    expect(tokenLogprob(logits, id, top), `seed ${seed}`).toEqual({
      id,
      logprob: logs[id]!,
      top: order.slice(0, top).map((other) => ({ id: other, logprob: logs[other]! })),
    });
  }
});
