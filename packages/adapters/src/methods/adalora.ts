/** AdaLoRA: f(x) + alpha / (rank + 1e-5) B diag(E) A x, ranks moved between layers while training (Zhang et al. 2023, arXiv:2303.10512, eq. 3). */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { AdapterTrace, LinearSite } from "@graft/core/nn";
import { add, fill, l2Norm, matmul, mulColumns, reshape, scale as scaled } from "@graft/core/ops";
import { z } from "zod";
import { added, multiply, scaledRows } from "../linear-algebra.ts";
import { type Binding, bindLinear, type LinearAdapter, type LinearMethod } from "../linear-method.ts";
import { type BoundMethod, defineMethod } from "../method.ts";
import { RankAllocator, type Triplet } from "../rank-allocator.ts";
import { keyOf, valueOf } from "../replaced.ts";
import { constant, normal } from "../starts.ts";
import { attentionTargets, layerFields, refuse, targetFields } from "../target-config.ts";
import { identityConstant } from "./_identity.ts";
import { otherFunctions } from "./_lora-config.ts";

const adaloraConfig = z.looseObject({
  ...targetFields,
  ...layerFields,
  target_r: z.int().min(1).default(8),
  init_r: z.int().min(1, "init_r must be at least 1").default(12),
  tinit: z.int().min(0).default(0),
  tfinal: z.int().min(0).default(0),
  deltaT: z.int().min(1).default(1),
  beta1: z.number().gt(0).lt(1).default(0.85),
  beta2: z.number().gt(0).lt(1).default(0.85),
  orth_reg_weight: z.number().gt(0, "orth_reg_weight must be above 0").default(0.5),
  total_step: z.int().min(1).nullish(),
  /** By `MODULE.lora_E`: which of the init_r singular values are left. */
  rank_pattern: z.record(z.string(), z.array(z.boolean())).nullish(),
  lora_alpha: z.number().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  fan_in_fan_out: z.boolean().default(false),
  bias: z.enum(["none", "all", "lora_only"]).default("none"),
  init_lora_weights: z.boolean("must be true or false").default(true),
});
type AdaloraConfig = z.output<typeof adaloraConfig>;
type Names = "lora_A" | "lora_B" | "lora_E";

const linear: LinearMethod<AdaloraConfig> = {
  name: "adalora",
  peftType: "ADALORA",
  tiny: { init_r: 3, target_r: 2, total_step: 60, tinit: 5, tfinal: 30, deltaT: 5 },
  config: adaloraConfig as z.ZodType<AdaloraConfig>,
  defaultTargets: { ...attentionTargets, opt: ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"] },
  startsAsIdentity: (config) => config.init_lora_weights,
  check(config, { where, origin }) {
    const reasons = { use_dora: "DoRA", use_rslora: "another scaling", alpha_pattern: "alpha by layer" };
    refuse(
      { ...config, alpha_pattern: Object.keys(config.alpha_pattern ?? {}) },
      { ...otherFunctions, ...reasons },
      where,
    );
    if (origin === "new") checkSchedule(config, where);
  },
  at(site, config): LinearAdapter<Names> {
    const r = rankOf(site, config);
    // As in PEFT the scale stays that of the first rank.
    const scale = (config.lora_alpha > 0 ? config.lora_alpha : config.init_r) / (config.init_r + 1e-5);
    const std = config.init_lora_weights ? 0.02 : 1;
    return {
      parameters: {
        lora_A: normal(std, [r, site.inDim]),
        lora_B: normal(std, [site.outDim, r]),
        lora_E: config.init_lora_weights ? constant(0, [r, 1]) : normal(1, [r, 1]),
      },
      apply({ x, f, drop }, { lora_A: A, lora_B: B, lora_E: E }) {
        if (r === 0) return f(x);
        const low = mulColumns(matmul(drop(x, config.lora_dropout), A, { transB: true }), E); // [tokens, r]
        return add(f(x), matmul(low, B, { transB: true, scale }));
      },
      merge: (weight, { lora_A: A, lora_B: B, lora_E: E }) =>
        r === 0 ? weight : added(weight, multiply(B, scaledRows(A, E.data)), scale),
    };
  },
};

export const adalora = defineMethod<AdaloraConfig>({
  name: linear.name,
  peftType: linear.peftType,
  tiny: linear.tiny,
  sizeFields: ["init_r", "target_r"],
  config: linear.config,
  bind(config, base, where, origin, shapeInFile = () => undefined) {
    const binding: Binding = { base, where, origin, shapeInFile };
    const bound = bindLinear(linear, config, binding);
    const triplets = tripletsOf(bound);
    return {
      ...bound,
      penalty: (trace) => orthogonality(triplets, config.orth_reg_weight, trace),
      ...(typeof config.total_step === "number" ? { afterStep: allocatorOf(config, config.total_step, triplets) } : {}),
      // Once cut down it is plain already.
      ...(config.rank_pattern ? {} : { toPlain: (values) => cutDown(triplets, values, where) }),
    };
  },
});

/** Throws ConfigError, beginning with `where`, for steps that leave no time to allocate. */
function checkSchedule({ total_step: total, tinit, tfinal }: AdaloraConfig, where: string): void {
  if (typeof total !== "number")
    throw new ConfigError(`${where}: total_step is not set; AdaLoRA needs the number of optimizer steps of the run`);
  if (tinit >= total - tfinal)
    throw new ConfigError(
      `${where}: tinit ${tinit} and tfinal ${tfinal} leave no step of total_step ${total} to allocate ranks in`,
    );
}

function rankOf({ name }: LinearSite, { init_r: r, rank_pattern: pattern }: AdaloraConfig): number {
  const kept = pattern?.[`${name}.lora_E`];
  return kept ? kept.filter(Boolean).length : r;
}

function tripletsOf({ parameters }: BoundMethod): readonly Triplet[] {
  return parameters.flatMap(({ key, shape }) => {
    const module = /^(.*)\.lora_E$/.exec(key)?.[1];
    return module === undefined ? [] : [{ A: `${module}.lora_A`, E: key, B: `${module}.lora_B`, rank: shape[0]! }];
  });
}

function allocatorOf(config: AdaloraConfig, totalSteps: number, triplets: readonly Triplet[]) {
  const { tinit, tfinal, deltaT, beta1, beta2, target_r: targetRank } = config;
  return () => new RankAllocator({ tinit, tfinal, deltaT, beta1, beta2, totalSteps, targetRank }, triplets);
}

/** weight times the mean of |A A^T - 1| and |B^T B - 1| over all layers, Frobenius (eq. 4, without the squares, as PEFT has it). */
function orthogonality(triplets: readonly Triplet[], weight: number, { graph, parameter }: AdapterTrace): Tensor {
  const distances = triplets
    .filter(({ rank }) => rank > 0)
    .flatMap(({ A, B, rank }) => {
      const distance = (gram: Tensor) =>
        l2Norm(reshape(add(gram, identityConstant(graph, rank, -1)), [1, rank * rank]));
      const [a, b] = [parameter(A), parameter(B)];
      return [distance(matmul(a, a, { transB: true })), distance(matmul(b, b, { transA: true }))];
    });
  return scaled(distances.reduce(add, fill(graph, [1], 0)), weight / (2 * triplets.length));
}

/** Without the singular values that the allocator has set to zero, and the pattern that says which. Undefined where there are none. */
function cutDown(
  triplets: readonly Triplet[],
  values: ReadonlyMap<string, Float32Array>,
  where: string,
): ReturnType<NonNullable<BoundMethod["toPlain"]>> {
  const kept = triplets.map(({ E }) => [...valueOf(values, E, where)].map((x) => x !== 0));
  // A fresh adapter is zero everywhere, and nothing of it is to be cut.
  if (kept.flat().every(Boolean) || !kept.flat().some(Boolean)) return undefined;
  const plain = new Map(values);
  const pattern: Record<string, boolean[]> = {};
  for (const [i, { A, E, B, rank }] of triplets.entries()) {
    const own = kept[i]!;
    pattern[E.slice(keyOf("").length)] = own;
    const inDim = valueOf(values, A, where).length / rank;
    plain.set(
      E,
      valueOf(values, E, where).filter((_, at) => own[at]),
    );
    plain.set(
      A,
      valueOf(values, A, where).filter((_, at) => own[Math.floor(at / inDim)]),
    );
    plain.set(
      B,
      valueOf(values, B, where).filter((_, at) => own[at % rank]),
    );
  }
  return { config: { rank_pattern: pattern }, values: plain };
}
