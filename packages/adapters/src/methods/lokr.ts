/** LoKr: f(x) + (alpha / r) (W1 kron W2) x, either factor whole or of rank r (Yeh et al. 2023, arXiv:2309.14859, section 3.2; LyCORIS). */
import type { Tensor } from "@graft/core/graph";
import { add, einsum, matmul, reshape, scale as scaled } from "@graft/core/ops";
import { z } from "zod";
import { added, kronecker, type Matrix, multiply } from "../linear-algebra.ts";
import { defineLinearMethod } from "../linear-method.ts";
import { constant, kaiming, type Start } from "../starts.ts";
import { refuse, refuseDropout } from "../target-config.ts";
import { lycorisFields, rankAndScale } from "./_lycoris.ts";

const lokrConfig = z.looseObject({
  ...lycorisFields,
  decompose_both: z.boolean().default(false),
  decompose_factor: z.int().default(-1),
  rank_dropout_scale: z.boolean().default(false),
  /** "lycoris": W2 starts at zero, not W1. */
  init_weights: z.union([z.boolean(), z.literal("lycoris")]).default(true),
});
type LokrConfig = z.output<typeof lokrConfig>;

export const lokr = defineLinearMethod<LokrConfig>({
  name: "lokr",
  peftType: "LOKR",
  tiny: { r: 2, alpha: 4 },
  sizeFields: ["r"],
  config: lokrConfig as z.ZodType<LokrConfig>,
  startsAsIdentity: (config) => config.init_weights !== false,
  check(config, binding) {
    refuse(config, { use_effective_conv2d: "a core tensor of convolutions" }, binding.where);
    refuseDropout(config, ["rank_dropout", "module_dropout"], binding);
  },
  at({ name, inDim, outDim }, config, { where }) {
    const { r, scale } = rankAndScale(config, name, where);
    const [out1, out2] = factors(outDim, config.decompose_factor);
    const [in1, in2] = factors(inDim, config.decompose_factor);
    const isWhole1 = !config.decompose_both || r >= Math.max(out1, in1) / 2;
    const isWhole2 = r >= Math.max(out2, in2) / 2;
    return {
      parameters: {
        ...factorStarts("lokr_w1", isWhole1, [out1, in1], r, config.init_weights === true ? "a" : undefined),
        ...factorStarts("lokr_w2", isWhole2, [out2, in2], r, config.init_weights === "lycoris" ? "b" : undefined),
      },
      apply({ x, f }, p) {
        const tokens = x.shape[0]!;
        const w1 = p.lokr_w1 ?? matmul(p.lokr_w1_a!, p.lokr_w1_b!); // [out1, in1]
        const w2 = p.lokr_w2 ?? matmul(p.lokr_w2_a!, p.lokr_w2_b!); // [out2, in2]
        const half = matmul(reshape(x, [tokens, in1, in2]), w2, { transB: true }); // [tokens, in1, out2]
        const whole: Tensor = einsum("taj,ia->tij", half, w1); // [tokens, out1, out2]
        return add(f(x), scaled(reshape(whole, [tokens, outDim]), scale));
      },
      merge(weight, p) {
        const whole = (name1: string): Matrix => p[name1] ?? multiply(p[`${name1}_a`]!, p[`${name1}_b`]!);
        return added(weight, kronecker(whole("lokr_w1"), whole("lokr_w2")), scale);
      },
    };
  },
});

/** A factor, whole or as a product, and which of the two begins at zero: a whole one does where either is asked to. */
function factorStarts(
  name: string,
  isWhole: boolean,
  [rows, columns]: readonly [number, number],
  r: number,
  zero: "a" | "b" | undefined,
): Readonly<Record<string, Start>> {
  const start = (isZero: boolean, shape: readonly [number, number]) => (isZero ? constant(0, shape) : kaiming(shape));
  if (isWhole) return { [name]: start(zero !== undefined, [rows, columns]) };
  return { [`${name}_a`]: start(zero === "a", [rows, r]), [`${name}_b`]: start(zero === "b", [r, columns]) };
}

/**
 * m n = dimension with m <= n, as LyCORIS chooses them: m = factor where that divides (then m may be the larger), else m and n as near to each other as can be with m at most
 * factor (-1: no bound).
 */
export function factors(dimension: number, factor: number): readonly [number, number] {
  if (factor > 0 && dimension % factor === 0) return [factor, dimension / factor];
  const most = factor === -1 ? dimension : factor;
  let m = 1;
  for (let next = 2; next * next <= dimension && next <= most; next++) if (dimension % next === 0) m = next;
  return [m, dimension / m];
}
