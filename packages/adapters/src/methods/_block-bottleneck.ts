/** Bottlenecks around whole blocks, as AdapterHub's library has them (Poth et al. 2023, arXiv:2311.11077): config fields with its names. */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { BranchSite } from "@graft/core/nn";
import { add, layerNorm } from "@graft/core/ops";
import { z } from "zod";
import { savedModules } from "../base-parameters.ts";
import { type Base, type BoundMethod, defineMethod, type Method } from "../method.ts";
import { keyOf, replacing } from "../replaced.ts";
import { constant, kaiming, normal, truncatedNormal } from "../starts.ts";
import { activationNamed } from "./_activation.ts";
import {
  after,
  beside,
  type Bottleneck,
  bottleneck,
  boundBottlenecks,
  dense,
  type Placement,
  type Projection,
  type StartingParameter,
  type Trace,
  type WeightStart,
} from "./_bottleneck.ts";
import { phm, phmFields } from "./_phm.ts";

const reductionFactor = z.number().positive();

const blockConfig = z.looseObject({
  /** Around attention; around the MLP. */
  mh_adapter: z.boolean().default(true),
  output_adapter: z.boolean().default(true),
  /** Layers without an adapter. */
  leave_out: z.array(z.int().min(0)).default([]),
  /** The bottleneck is the model's width divided by it; by layer number, the others "default". */
  reduction_factor: z
    .union(
      [reductionFactor, z.record(z.string(), reductionFactor)],
      'must be a number above 0, or such numbers by layer and "default"',
    )
    .default(16),
  /** The bottleneck itself; goes before reduction_factor. Not AdapterHub's. */
  bottleneck_size: z.int().min(1, "bottleneck_size must be at least 1").nullish(),
  non_linearity: z.string().default("relu"),
  scaling: z.union([z.number(), z.enum(["learned", "channel"])]).default(1),
  dropout: z.number().min(0).lt(1).default(0),
  /** The adapter reads the block's output with the residual stream added, instead of the output alone. */
  original_ln_before: z.boolean().default(false),
  /** A norm of its own on the adapter's input; on its result. */
  ln_before: z.boolean().default(false),
  ln_after: z.boolean().default(false),
  init_weights: z.enum(["bert", "mam_adapter", "houlsby"]).default("mam_adapter"),
  modules_to_save: z.array(z.string()).nullish(),
  ...phmFields,
});
export type BlockConfig = z.output<typeof blockConfig>;

/** What weights start with. The base's function stays where up starts at zero: with mam_adapter. */
const starts: Readonly<Record<BlockConfig["init_weights"], { readonly down: WeightStart; readonly up: WeightStart }>> =
  {
    bert: both((shape) => normal(0.02, shape)),
    mam_adapter: { down: kaiming, up: (shape) => constant(0, shape) },
    houlsby: both((shape) => truncatedNormal(0.01, shape)),
  };

function both(start: WeightStart): { readonly down: WeightStart; readonly up: WeightStart } {
  return { down: start, up: start };
}

const isIdentity = (config: BlockConfig): boolean => config.init_weights === "mam_adapter";

/** Fields of AdapterHub's with another value than this are another function. */
const fixed: Readonly<Record<string, unknown>> = {
  original_ln_after: true,
  adapter_residual_before_ln: false,
  use_gating: false,
  cross_adapter: false,
  inv_adapter: null,
  stochastic_depth: 0,
};

interface BlockBottleneck {
  readonly name: string;
  /** Written to adapter_config.json. PEFT has no such methods: the names are Graft's. */
  readonly peftType: string;
  /** Beside the block (x to its output) instead of after it. */
  readonly isParallel: boolean;
  /** AdapterHub's defaults where they differ from the shared ones. */
  readonly defaults: Partial<BlockConfig>;
}

/** A method that puts bottlenecks with biases around blocks. */
export function defineBlockBottleneck(kind: BlockBottleneck): Method<BlockConfig> {
  return defineMethod<BlockConfig>({
    name: kind.name,
    peftType: kind.peftType,
    tiny: { bottleneck_size: 4, non_linearity: "tanh" },
    sizeFields: ["bottleneck_size", "reduction_factor"],
    config: withDefaults(kind.defaults) as unknown as z.ZodType<BlockConfig>,
    bind: (config, base, where) => bind(kind, config, base, where),
  });
}

/** The shared schema with other defaults for some of its fields. */
function withDefaults(defaults: Partial<BlockConfig>): z.ZodObject {
  const fields: Readonly<Record<string, z.ZodType>> = blockConfig.shape;
  return blockConfig.extend(
    Object.fromEntries(Object.entries(defaults).map(([field, value]) => [field, fields[field]!.default(value)])),
  );
}

function bind(kind: BlockBottleneck, config: BlockConfig, base: Base, where: string): BoundMethod {
  check(kind, config, where);
  const sites = selected(config, base, where).map((site) => ({
    site,
    placement: placementOf(kind, config),
    bottleneck: bottleneckAt(site, config, where),
  }));
  return boundBottlenecks({
    method: kind.name,
    startsAsIdentity: isIdentity(config),
    sites,
    whole: replacing(savedModules(config.modules_to_save ?? [], base, where), base, where),
    settledConfig: config,
  });
}

function check(kind: BlockBottleneck, config: BlockConfig, where: string): void {
  const values = { ...fixed, is_parallel: kind.isParallel };
  for (const [field, value] of Object.entries(values)) {
    const given = config[field];
    if (given !== undefined && given !== null && given !== value)
      throw new ConfigError(`${where}: ${field} ${JSON.stringify(given)} is not supported by ${kind.name}`);
  }
  if (config.original_ln_before && kind.isParallel)
    throw new ConfigError(`${where}: original_ln_before is for adapters after a block; ${kind.name} reads its input`);
  // Without the sum the two readings of residual_before_ln are one.
  if (config.original_ln_before && (config.residual_before_ln ?? true) !== true)
    throw new ConfigError(`${where}: residual_before_ln must be true where original_ln_before is`);
  if (config.phm_layer && config.shared_W_phm && typeof config.reduction_factor !== "number")
    throw new ConfigError(`${where}: shared_W_phm needs one reduction_factor for all layers`);
}

function selected(config: BlockConfig, base: Base, where: string): BranchSite[] {
  const branches = base.sites.filter((site) => site.kind === "branch");
  if (branches.length === 0) throw new ConfigError(`${where}: ${base.modelType} names no blocks to attach to`);
  const chosen = { attention: config.mh_adapter, mlp: config.output_adapter };
  const layers = new Set(branches.map((site) => site.layer));
  const nowhere = config.leave_out.find((layer) => !layers.has(layer));
  if (nowhere !== undefined)
    throw new ConfigError(`${where}: leave_out names layer ${nowhere}; this model has ${layers.size} layers, from 0`);
  const sites = branches.filter(
    ({ branch, layer }) => chosen[branch] && !(layer !== undefined && config.leave_out.includes(layer)),
  );
  if (sites.length === 0)
    throw new ConfigError(`${where}: mh_adapter, output_adapter and leave_out leave no block to attach to`);
  return sites;
}

function placementOf(kind: BlockBottleneck, config: BlockConfig): Placement {
  if (kind.isParallel) return beside;
  return config.original_ln_before ? afterSum : after;
}

/** y + change(y + residual), y = f(x). On a branch there is a residual. */
const afterSum: Placement = {
  from: "output",
  to: "output",
  apply({ x, f, change, residual }) {
    const y = f(x);
    return add(y, change(add(y, residual!)));
  },
};

function bottleneckAt(site: BranchSite, config: BlockConfig, where: string): Bottleneck {
  const key = keyOf(site.name);
  const { width } = site;
  const size = config.bottleneck_size ?? reducedSize(site, config, where);
  const project = (which: "down" | "up", dims: { inDim: number; outDim: number }): Projection => {
    const own = `${key}.adapter_${which}`;
    if (!config.phm_layer) return dense(own, dims, { hasBias: true, start: starts[config.init_weights][which] });
    const isZero = which === "up" && isIdentity(config);
    return phm(config, { key: own, sharedKey: "base_model.model", which, ...dims, isZero }, where);
  };
  const down = project("down", { inDim: width, outDim: size });
  const norm = (name: string): Norm => layerNormOf(`${key}.${name}`, width);
  const made = bottleneck(key, {
    down: config.ln_before ? behindNorm(norm("adapter_norm_before"), down) : down,
    up: project("up", { inDim: size, outDim: width }),
    activation: activationNamed(config.non_linearity, where),
    scaling: config.scaling,
    outDim: width,
    dropout: { p: config.dropout, of: "result" },
  });
  if (!config.ln_after) return made;
  const last = norm("adapter_norm_after");
  return {
    parameters: [...made.parameters, ...last.parameters],
    change: (x, trace) => last.apply(made.change(x, trace), trace),
  };
}

/** floor(width / reduction_factor), at least 1. */
function reducedSize(site: BranchSite, { reduction_factor: by }: BlockConfig, where: string): number {
  const factor = typeof by === "number" ? by : (by[`${site.layer}`] ?? by.default);
  if (factor === undefined)
    throw new ConfigError(`${where}: reduction_factor has no value for layer ${site.layer} and no "default"`);
  return Math.max(1, Math.floor(site.width / factor));
}

interface Norm {
  readonly parameters: readonly StartingParameter[];
  apply(x: Tensor, trace: Trace): Tensor;
}

function layerNormOf(key: string, width: number): Norm {
  const [weight, bias] = [`${key}.weight`, `${key}.bias`];
  return {
    parameters: [
      { key: weight, ...constant(1, [width]) },
      { key: bias, ...constant(0, [width]) },
    ],
    apply: (x, { parameter }) => layerNorm(x, parameter(weight), parameter(bias), 1e-5),
  };
}

function behindNorm(norm: Norm, projection: Projection): Projection {
  return {
    parameters: [...norm.parameters, ...projection.parameters],
    apply: (x, trace, factor) => projection.apply(norm.apply(x, trace), trace, factor),
  };
}
