/** Projections of Kronecker sums: parameterised hypercomplex multiplication (Zhang et al. 2021, arXiv:2102.08597), low rank as in Compacter (Karimi Mahabadi et al. 2021, arXiv:2106.04647). */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import { addColumns, einsum, matmul, reshape, scale } from "@graft/core/ops";
import { z } from "zod";
import { constant, normal, type Start, uniform } from "../starts.ts";
import type { Projection, StartingParameter, Trace } from "./_bottleneck.ts";

/** Fields of a config with AdapterHub's names and, but for phm_init_range, defaults. */
export const phmFields = {
  phm_layer: z.boolean().default(false),
  phm_dim: z.int().min(1, "phm_dim must be at least 1").default(4),
  phm_rank: z.int().min(1, "phm_rank must be at least 1").default(1),
  phm_bias: z.boolean().default(true),
  factorized_phm_W: z.boolean().default(true),
  factorized_phm_rule: z.boolean().default(false),
  shared_W_phm: z.boolean().default(false),
  shared_phm_rule: z.boolean().default(true),
  learn_phm: z.boolean().default(true),
  phm_c_init: z.enum(["normal", "uniform"]).default("normal"),
  /** Deviation or bound of the rule. 1 / sqrt(phm_dim) makes the sum as large as its terms. */
  phm_init_range: z.number().positive().default(0.5),
  hypercomplex_nonlinearity: z.enum(["glorot-uniform", "glorot-normal", "normal"]).default("glorot-uniform"),
};
export type PhmConfig = z.output<z.ZodObject<typeof phmFields>>;

interface PhmSite {
  /** Begins the keys of what this projection alone has, and of what all share. */
  readonly key: string;
  readonly sharedKey: string;
  readonly which: "down" | "up";
  readonly inDim: number;
  readonly outDim: number;
  /** The map is 0 at the start. */
  readonly isZero: boolean;
}

/**
 * x H + b, H = sum over i of A_i (x) W_i, [in, out]: the rule A [n, n, n], W [n, in / n, out / n], n = phm_dim, each of them a product of two factors where the config says so
 * (W of phm_rank, A of 1). Throws ConfigError, beginning with `where`, if n does not divide in and out.
 */
export function phm(config: PhmConfig, site: PhmSite, where: string): Projection {
  const { phm_dim: n } = config;
  for (const dim of [site.inDim, site.outDim]) {
    if (dim % n !== 0)
      throw new ConfigError(
        `${where}: phm_dim ${n} must divide ${dim}, a size of ${site.key}; choose another reduction_factor or bottleneck_size`,
      );
  }
  const [rows, columns] = [site.inDim / n, site.outDim / n];
  const ruleKey = config.shared_phm_rule ? `${site.sharedKey}.phm_rule` : `${site.key}.phm_rule`;
  const weightKey = config.shared_W_phm ? `${site.sharedKey}.W_${site.which}` : `${site.key}.W`;
  const bias = `${site.key}.b`;
  const draw: StackStart = (shape) => ({ normal, uniform })[config.phm_c_init](config.phm_init_range, shape);
  const rule = stack(ruleKey, [n, n, n], config.factorized_phm_rule ? 1 : undefined, {
    isTrainable: config.learn_phm,
    first: draw,
    last: draw,
  });
  const glorot = glorotStart(config);
  const weight = stack(weightKey, [n, rows, columns], config.factorized_phm_W ? config.phm_rank : undefined, {
    isTrainable: true,
    first: glorot,
    last: site.isZero ? (shape) => constant(0, shape) : glorot,
  });
  return {
    parameters: [
      ...rule.parameters,
      ...weight.parameters,
      ...(config.phm_bias ? [{ key: bias, ...constant(0, [site.outDim]) }] : []),
    ],
    apply(x, trace, factor = 1) {
      const blocks = einsum("ipq,iab->paqb", rule.value(trace), weight.value(trace)); // [n, rows, n, columns]
      const h = reshape(blocks, [site.inDim, site.outDim]);
      if (!config.phm_bias) return matmul(x, h, { scale: factor });
      return scale(addColumns(matmul(x, h), trace.parameter(bias)), factor); // [tokens, out]
    },
  };
}

/** How matrices [count, rows, columns] start. */
type StackStart = (shape: readonly [number, number, number]) => Start;

function glorotStart({ hypercomplex_nonlinearity, phm_init_range }: PhmConfig): StackStart {
  switch (hypercomplex_nonlinearity) {
    case "glorot-uniform":
      return (shape) => uniform(Math.sqrt(6 / (shape[1] + shape[2])), shape);
    case "glorot-normal":
      return (shape) => normal(Math.sqrt(2 / (shape[1] + shape[2])), shape);
    case "normal":
      return (shape) => normal(phm_init_range, shape);
  }
}

interface Stack {
  readonly parameters: readonly StartingParameter[];
  /** [count, rows, columns]. */
  value(trace: Trace): Tensor;
}

/** Matrices [count, rows, columns] under KEY, or of `rank` as the products of KEY_left [count, rows, rank] and KEY_right [count, rank, columns]. */
function stack(
  key: string,
  [count, rows, columns]: readonly [number, number, number],
  rank: number | undefined,
  how: { readonly isTrainable: boolean; readonly first: StackStart; readonly last: StackStart },
): Stack {
  const { isTrainable } = how;
  if (rank === undefined) {
    return {
      parameters: [{ key, isTrainable, ...how.last([count, rows, columns]) }],
      value: ({ parameter }) => parameter(key),
    };
  }
  const [left, right] = [`${key}_left`, `${key}_right`];
  return {
    parameters: [
      { key: left, isTrainable, ...how.first([count, rows, rank]) },
      { key: right, isTrainable, ...how.last([count, rank, columns]) },
    ],
    value: ({ parameter }) => einsum("iar,irb->iab", parameter(left), parameter(right)),
  };
}
