/** The weighted sum of what several adapters do at each place: f(x) + sum of w_i (a_i(x) - f(x)), a_i the place with adapter i (AdapterHub's Average). */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import { type Hooks, once } from "@graft/core/nn";
import { add, scale } from "@graft/core/ops";
import { z } from "zod";
import { defineMethod } from "../method.ts";
import { bindParts, composed, hooksOf, type Part, partsSchema } from "../composition.ts";

const config = z.looseObject({
  adapters: partsSchema,
  /** One for each adapter; default: the same for all, 1 in sum. */
  weights: z.array(z.number()).nullish(),
});

export const average = defineMethod({
  name: "average",
  peftType: "AVERAGE",
  tiny: {
    adapters: [
      { name: "a", config: { peft_type: "HOULSBY", bottleneck_size: 4, non_linearity: "tanh" }, trainable: true },
      { name: "b", config: { peft_type: "PFEIFFER", bottleneck_size: 4, non_linearity: "tanh" } },
    ],
  },
  config,
  bind({ adapters, weights: given }, base, where, origin, shapeInFile, bindOther) {
    const parts = bindParts(adapters, { base, where, origin, shapeInFile, bindOther });
    const weights = given ?? parts.map(() => 1 / parts.length);
    if (weights.length !== parts.length)
      throw new ConfigError(`${where}: there are ${parts.length} adapters and ${weights.length} weights`);
    const virtual = parts.find((part) => part.bound.virtualTokens);
    if (virtual)
      throw new ConfigError(`${where}: ${virtual.name} puts virtual tokens before a sequence, which have no average`);
    return {
      ...composed("average", parts),
      hooks: (trace) => averaged(parts, hooksOf(parts, trace), weights, where),
      merge: { impossible: "merge its parts one by one, or combine LoRAs into one" },
    };
  },
});

function averaged(parts: readonly Part[], all: readonly Hooks[], weights: readonly number[], where: string): Hooks {
  /** `own` gives a part's result; undefined where it has no hook. */
  const mean = (plain: Tensor, own: (hooks: Hooks) => Tensor | undefined): Tensor =>
    all.reduce((sum, hooks, i) => {
      const result = own(hooks);
      if (!result || result === plain) return sum;
      return add(sum, scale(add(result, scale(plain, -1)), weights[i]!));
    }, plain);
  return {
    linear(site, x, f, weight) {
      const plain = once(f);
      return mean(plain(x), (hooks) => hooks.linear?.(site, x, plain, weight));
    },
    embedding(site, ids, f) {
      const plain = once(f);
      return mean(plain(ids), (hooks) => hooks.embedding?.(site, ids, plain));
    },
    branch(site, x, f, residual) {
      const plain = once(f);
      return mean(plain(x), (hooks) => hooks.branch?.(site, x, plain, residual));
    },
    parameter(name, stored) {
      const whole = all.findIndex((hooks) => hooks.parameter?.(name, stored));
      if (whole < 0) return undefined;
      throw new ConfigError(`${where}: ${parts[whole]!.name} replaces ${name} as a whole, which has no average`);
    },
  };
}
