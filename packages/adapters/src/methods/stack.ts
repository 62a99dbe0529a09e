/**
 * Adapters one inside the other: f, then the first adapter around it, then the next around both (AdapterHub's Stack; Pfeiffer et al. 2020, arXiv:2005.00052). A prefix and
 * a parallel adapter stacked are Mix-and-Match (He et al. 2022, arXiv:2110.04366).
 */
import type { Hooks } from "@graft/core/nn";
import { z } from "zod";
import { defineMethod } from "../method.ts";
import { bindParts, composed, hooksOf, partsSchema } from "../composition.ts";

const config = z.looseObject({ adapters: partsSchema });

export const stack = defineMethod({
  name: "stack",
  peftType: "STACK",
  tiny: {
    adapters: [
      { name: "prefix", config: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 2 }, trainable: true },
      {
        name: "parallel",
        config: { peft_type: "HE_PARALLEL", bottleneck_size: 4, non_linearity: "tanh" },
        trainable: true,
      },
    ],
  },
  config,
  bind({ adapters }, base, where, origin, shapeInFile, bindOther) {
    const parts = bindParts(adapters, { base, where, origin, shapeInFile, bindOther });
    return {
      ...composed("stack", parts),
      hooks: (trace) => nested(hooksOf(parts, trace)),
      merge: { impossible: "its parts change one another's base; merge them one after the other" },
    };
  },
});

/** Hooks that act as these do one after the other. */
function nested(all: readonly Hooks[]): Hooks {
  return {
    linear: (site, x, f, weight) =>
      all.reduce((inner, own) => (own.linear ? (input) => own.linear!(site, input, inner, weight) : inner), f)(x),
    embedding: (site, ids, f) =>
      all.reduce((inner, own) => (own.embedding ? (input) => own.embedding!(site, input, inner) : inner), f)(ids),
    branch: (site, x, f, residual) =>
      all.reduce((inner, own) => (own.branch ? (input) => own.branch!(site, input, inner, residual) : inner), f)(x),
    keysValues: (layer, k, v, ids) =>
      all.reduce((own, hooks) => hooks.keysValues?.(layer, own.k, own.v, ids) ?? own, { k, v }),
    parameter(name, stored) {
      for (const own of all) {
        const replaced = own.parameter?.(name, stored);
        if (replaced) return replaced;
      }
      return undefined;
    },
  };
}
