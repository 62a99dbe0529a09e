/**
 * Bottlenecks at linear layers, as the LLM-Adapters fork of PEFT has them (Hu et al. 2023, arXiv:2304.01933, section 2.2 and its code): peft_type BOTTLENECK for the three
 * methods series, adapterp and parallel. Its files load; what a fresh adapter starts with is docs/decisions/0010.
 */
import { ConfigError } from "@graft/core/errors";
import type { LinearSite, ModuleSite } from "@graft/core/nn";
import { z } from "zod";
import { savedModules, trainedBiases } from "../base-parameters.ts";
import { type Base, type BoundMethod, type ConfigOrigin, defineMethod, type Method } from "../method.ts";
import { selectSites } from "../targets.ts";
import { activationNamed } from "./_activation.ts";
import { after, before, beside, bottleneck, boundBottlenecks, dense, type Placement } from "./_bottleneck.ts";
import { kaiming, normal, type Start, zeros } from "./_start.ts";

const bottleneckConfig = z.looseObject({
  bottleneck_size: z.int().min(1, "bottleneck_size must be at least 1").default(256),
  non_linearity: z.string().default("tanh"),
  adapter_dropout: z.number().min(0).lt(1).default(0),
  scaling: z.union([z.number(), z.literal("learned")], 'must be a number or "learned"').default(1),
  target_modules: z.union([z.string(), z.array(z.string())]).nullish(),
  use_parallel_adapter: z.boolean().default(false),
  use_adapterp: z.boolean().default(false),
  bias: z.enum(["none", "all", "adapter_only"]).default("none"),
  init_weights: z.enum(["bert", "lora", "mam_adapter"]).default("mam_adapter"),
  modules_to_save: z.array(z.string()).nullish(),
});
export type BottleneckConfig = z.output<typeof bottleneckConfig>;

/** What down and up start with. Only where up is zero the base's function stays. */
const starts: Readonly<Record<BottleneckConfig["init_weights"], { down: (inDim: number) => Start; up: Start }>> = {
  bert: { down: () => normal(0.02), up: normal(0.02) },
  lora: { down: kaiming, up: zeros },
  mam_adapter: { down: kaiming, up: zeros },
};

/** Linear layers of a decoder layer by their part in it; names are ends of paths. */
export interface LayerNames {
  /** Those that read the MLP's input. */
  readonly mlpIn: readonly string[];
  /** The one that writes the MLP's output. */
  readonly mlpOut: readonly string[];
  /** Queries, keys and values, in one or in three. */
  readonly qkv: readonly string[];
}

const fused = {
  mlpIn: ["dense_h_to_4h"],
  mlpOut: ["dense_4h_to_h"],
  qkv: ["query_key_value"],
} as const satisfies LayerNames;
const qkv = ["q_proj", "k_proj", "v_proj"] as const;

/** By model_type. The fork has no gpt2 and no gpt_neox: by analogy. GPT-2 has a c_proj in its attention too. */
const layerNames: Readonly<Record<string, LayerNames>> = {
  llama: { mlpIn: ["gate_proj", "up_proj"], mlpOut: ["down_proj"], qkv },
  gptj: { mlpIn: ["fc_in"], mlpOut: ["fc_out"], qkv },
  opt: { mlpIn: ["fc1"], mlpOut: ["fc2"], qkv },
  gpt2: { mlpIn: ["mlp.c_fc"], mlpOut: ["mlp.c_proj"], qkv: ["c_attn"] },
  gpt_neo: { mlpIn: ["mlp.c_fc"], mlpOut: ["mlp.c_proj"], qkv },
  bloom: fused,
  gpt_neox: fused,
  chatglm: fused,
};

interface LinearBottleneck {
  readonly name: string;
  /** Which configs of the shared peft_type are its own. */
  readonly matches: (config: BottleneckConfig) => boolean;
  readonly defaultTargets: (names: LayerNames) => readonly string[];
  /** Where the bottleneck stands at a module of a model; undefined if it has no place there. */
  readonly placementAt: (site: LinearSite, names: LayerNames | undefined) => Placement | undefined;
}

/** A method of the shared peft_type. */
export function defineLinearBottleneck(kind: LinearBottleneck): Method<BottleneckConfig> {
  return defineMethod<BottleneckConfig>({
    name: kind.name,
    peftType: "BOTTLENECK",
    sizeFields: ["bottleneck_size"],
    config: bottleneckConfig as z.ZodType<BottleneckConfig>,
    matches: kind.matches,
    bind: (config, base, where, origin) => bind(kind, config, base, where, origin),
  });
}

/** Series: before the layers that read the MLP's input, after the one that writes its output. */
export function seriesPlacement(site: LinearSite, names: LayerNames | undefined): Placement | undefined {
  const isOne = (ends: readonly string[] = []) => ends.some((end) => site.name.endsWith(`.${end}`));
  if (isOne(names?.mlpIn)) return before;
  return isOne(names?.mlpOut) ? after : undefined;
}

/** Parallel: at any layer. */
export const parallelPlacement = (): Placement => beside;

function bind(
  kind: LinearBottleneck,
  config: BottleneckConfig,
  base: Base,
  where: string,
  origin: ConfigOrigin,
): BoundMethod {
  const names = layerNames[base.modelType];
  const act = activationNamed(config.non_linearity, where);
  const start = starts[config.init_weights];
  const targetModules = targetsOf(kind, config, base, where);
  const sites = selected(targetModules, config, base, where, origin).map((module) => {
    const { site, placement } = placed(kind, module, names, base, where);
    // A bottleneck before the layer works on its input, one after it on its output, one beside it goes from one to the other.
    const inDim = placement === after ? site.outDim : site.inDim;
    const outDim = placement === before ? site.inDim : site.outDim;
    const key = `base_model.model.${site.name}`;
    const size = config.bottleneck_size;
    const projection = (name: string, dims: { inDim: number; outDim: number }, first: Start) =>
      dense(`${key}.${name}`, dims, { hasBias: false, start: first });
    return {
      site,
      placement,
      bottleneck: bottleneck(key, {
        down: projection("adapter_down", { inDim, outDim: size }, start.down(inDim)),
        up: projection("adapter_up", { inDim: size, outDim }, start.up),
        activation: act,
        scaling: config.scaling,
        outDim,
        dropout: { p: config.adapter_dropout, of: "input" },
      }),
    };
  });
  const targets = new Set(sites.map(({ site }) => site.name));
  const which = config.bias === "adapter_only" ? "targets" : config.bias;
  const biases = trainedBiases(which, base, targets);
  const replaced = new Map([
    ...biases.map(({ parameter }) => [parameter, `base_model.model.${parameter}`] as const),
    ...savedModules(config.modules_to_save ?? [], base, where),
  ]);
  const keys = [...sites.flatMap((own) => own.bottleneck.parameters.map((p) => p.key)), ...replaced.values()];
  return boundBottlenecks(base, {
    method: kind.name,
    startsAsIdentity: start.up === zeros,
    sites,
    replaced,
    settledConfig: { ...config, target_modules: targetModules },
    aliases: headAliases(keys, base),
  });
}

function targetsOf(
  kind: LinearBottleneck,
  config: BottleneckConfig,
  base: Base,
  where: string,
): readonly string[] | string {
  const names = layerNames[base.modelType];
  const targetModules = config.target_modules ?? (names && kind.defaultTargets(names));
  if (targetModules) return targetModules;
  throw new ConfigError(
    `${where}: target_modules is not set, and ${base.modelType} has no default for ${kind.name}; defaults are there for ${Object.keys(layerNames).join(", ")}`,
  );
}

function selected(
  targetModules: readonly string[] | string,
  config: BottleneckConfig,
  base: Base,
  where: string,
  origin: ConfigOrigin,
): ModuleSite[] {
  const isFile = origin === "file";
  const savedNames = config.modules_to_save ?? undefined;
  // The fork matches ends of paths without a dot before them; only its files need that.
  return selectSites(
    base.sites,
    { targetModules, savedModules: savedNames, skipUnknown: isFile, looseSuffix: isFile },
    where,
  );
}

function placed(
  kind: LinearBottleneck,
  site: ModuleSite,
  names: LayerNames | undefined,
  base: Base,
  where: string,
): { readonly site: LinearSite; readonly placement: Placement } {
  if (site.kind !== "linear")
    throw new ConfigError(
      `${where}: target module ${site.name} is no linear layer; ${kind.name} attaches to those only`,
    );
  const placement = kind.placementAt(site, names);
  if (!placement) {
    const possible = names
      ? `; on ${base.modelType} it has one at ${[...names.mlpIn, ...names.mlpOut].join(", ")}`
      : "";
    throw new ConfigError(
      `${where}: ${kind.name} has no place at ${site.name}${possible}. A parallel adapter (use_parallel_adapter) goes with any linear layer`,
    );
  }
  return { site, placement };
}

/** The fork's 8-bit preparation wraps the output layer, so that its file says lm_head.0.weight. */
function headAliases(keys: readonly string[], base: Base): Map<string, string> {
  const heads = base.sites.filter((site) => site.kind === "linear" && site.isHead);
  return new Map(
    heads.flatMap(({ name }) => {
      const begin = `base_model.model.${name}.`;
      return keys
        .filter((key) => key.startsWith(begin))
        .map((key) => [key, `${begin}0.${key.slice(begin.length)}`] as const);
    }),
  );
}
