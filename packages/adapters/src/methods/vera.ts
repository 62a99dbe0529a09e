/** VeRA: f(x) + b o B (d o A x), A and B frozen, random and shared by all layers, b and d trained (Kopiczko et al. 2023, arXiv:2310.11454, eq. 2). */
import { add, matmul, mulColumns, slice } from "@graft/core/ops";
import { z } from "zod";
import { added, multiply, scaledRows, takeColumns, takeRows } from "../linear-algebra.ts";
import { defineLinearMethod, type LinearAdapter } from "../linear-method.ts";
import { constant, normal } from "../starts.ts";
import { layerFields, refuseBias, targetFields } from "../target-config.ts";
import { TorchRandom } from "../torch-random.ts";

const veraConfig = z.looseObject({
  ...targetFields,
  ...layerFields,
  r: z.int().min(1, "r must be at least 1").default(256),
  projection_prng_key: z.int().min(0).default(0),
  save_projection: z.boolean().default(true),
  vera_dropout: z.number().min(0).lt(1).default(0),
  d_initial: z.number().default(0.1),
  fan_in_fan_out: z.boolean().default(false),
  bias: z.enum(["none", "all", "vera_only"]).default("none"),
  init_weights: z.boolean().default(true),
});
type VeraConfig = z.output<typeof veraConfig>;
type Names = "vera_lambda_b" | "vera_lambda_d";
type Shared = "vera_A" | "vera_B";

export const vera = defineLinearMethod<VeraConfig>({
  name: "vera",
  peftType: "VERA",
  tiny: { r: 4, d_initial: 0.1 },
  sizeFields: ["r"],
  config: veraConfig as z.ZodType<VeraConfig>,
  startsAsIdentity: (config) => config.init_weights,
  check({ bias }, { where }) {
    refuseBias("VeRA", bias, where);
  },
  /** As large as the largest layer needs; another reads the first columns of A and the first rows of B. */
  shared({ r, projection_prng_key: key, save_projection: isSaved }, sites) {
    const inDim = Math.max(...sites.map((site) => site.inDim));
    const outDim = Math.max(...sites.map((site) => site.outDim));
    // Kaiming uniform for a rectifier: U(-sqrt(6 / fan in), sqrt(6 / fan in)), A's values before B's.
    const drawn = () => {
      const random = new TorchRandom(key);
      const a = random.uniform(r * inDim, kaimingBound(inDim));
      return { a, b: random.uniform(outDim * r, kaimingBound(r)) };
    };
    return {
      vera_A: { shape: [r, inDim], init: () => drawn().a, isDerived: !isSaved },
      vera_B: { shape: [outDim, r], init: () => drawn().b, isDerived: !isSaved },
    };
  },
  at({ inDim, outDim }, { r, init_weights: isFresh, d_initial: d, vera_dropout: p }): LinearAdapter<Names, Shared> {
    return {
      parameters: {
        vera_lambda_b: isFresh ? constant(0, [outDim]) : constant(1, [outDim]),
        vera_lambda_d: isFresh ? constant(d, [r]) : normal(1, [r]),
      },
      apply({ x, f, drop }, { vera_lambda_b: b, vera_lambda_d: d, vera_A: wholeA, vera_B: wholeB }) {
        const [A, B] = [slice(wholeA, 1, 0, inDim), slice(wholeB, 0, 0, outDim)];
        const low = mulColumns(matmul(drop(x, p), A, { transB: true }), d); // [tokens, r]
        return add(f(x), mulColumns(matmul(low, B, { transB: true }), b));
      },
      merge(weight, { vera_lambda_b: b, vera_lambda_d: d, vera_A: A, vera_B: B }) {
        const right = scaledRows(takeColumns(A, inDim), d.data);
        return added(weight, multiply(scaledRows(takeRows(B, 0, outDim), b.data), right));
      },
    };
  },
});

/** torch computes the deviation gain / sqrt(fan) first. */
function kaimingBound(fanIn: number): number {
  return Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(fanIn));
}
