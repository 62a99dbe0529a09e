/** LoHa: f(x) + (alpha / r) ((W1a W1b) o (W2a W2b)) x, a change of rank up to r^2 (Hyeon-Woo et al. 2021, arXiv:2108.06098, proposition 1; LyCORIS). */
import { add, matmul, mul } from "@graft/core/ops";
import { z } from "zod";
import { added, hadamard, multiply } from "../linear-algebra.ts";
import { defineLinearMethod, type LinearAdapter } from "../linear-method.ts";
import { constant, kaiming } from "../starts.ts";
import { refuse, refuseDropout } from "../target-config.ts";
import { lycorisFields, rankAndScale } from "./_lycoris.ts";

const lohaConfig = z.looseObject({
  ...lycorisFields,
  init_weights: z.boolean("must be true or false; other starts are not supported").default(true),
});
type LohaConfig = z.output<typeof lohaConfig>;
type Names = "hada_w1_a" | "hada_w1_b" | "hada_w2_a" | "hada_w2_b";

export const loha = defineLinearMethod<LohaConfig>({
  name: "loha",
  peftType: "LOHA",
  tiny: { r: 2, alpha: 4 },
  sizeFields: ["r"],
  config: lohaConfig as z.ZodType<LohaConfig>,
  startsAsIdentity: (config) => config.init_weights,
  check(config, binding) {
    refuse(config, { use_khatri_rao: "ABBA's scaling", r2: "a second rank" }, binding.where);
    refuseDropout(config, ["rank_dropout", "module_dropout"], binding);
  },
  at({ name, inDim, outDim }, config, { where }): LinearAdapter<Names> {
    const { r, scale } = rankAndScale(config, name, where);
    return {
      parameters: {
        hada_w1_a: kaiming([outDim, r]),
        hada_w1_b: kaiming([r, inDim]),
        hada_w2_a: kaiming([outDim, r]),
        hada_w2_b: config.init_weights ? constant(0, [r, inDim]) : kaiming([r, inDim]),
      },
      apply({ x, f }, { hada_w1_a: w1a, hada_w1_b: w1b, hada_w2_a: w2a, hada_w2_b: w2b }) {
        const change = mul(matmul(w1a, w1b), matmul(w2a, w2b, { scale })); // [out, in]
        return add(f(x), matmul(x, change, { transB: true }));
      },
      merge: (weight, { hada_w1_a: w1a, hada_w1_b: w1b, hada_w2_a: w2a, hada_w2_b: w2b }) =>
        added(weight, hadamard(multiply(w1a, w1b), multiply(w2a, w2b)), scale),
    };
  },
});
