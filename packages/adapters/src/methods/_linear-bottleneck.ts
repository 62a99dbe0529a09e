/**
 * Bottlenecks at linear layers, as the LLM-Adapters fork of PEFT has them (Hu et al. 2023, arXiv:2304.01933, section 2.2 and its code): peft_type BOTTLENECK for the three
 * methods series, adapterp and parallel. Its files load; what a fresh adapter starts with is docs/decisions/0008-bottleneck-starts.md.
 */
import { ConfigError } from "@graft/core/errors";
import type { LinearSite } from "@graft/core/nn";
import { z } from "zod";
import { savedModules, trainedBiases } from "../base-parameters.ts";
import { type Base, type BoundMethod, type ConfigOrigin, defineMethod, type Method } from "../method.ts";
import { keyOf, replacing } from "../replaced.ts";
import { constant, kaiming, normal } from "../starts.ts";
import { chosenLinears, targetFields } from "../target-config.ts";
import { activationNamed } from "./_activation.ts";
import {
  after,
  before,
  beside,
  bottleneck,
  boundBottlenecks,
  dense,
  type Placement,
  type WeightStart,
} from "./_bottleneck.ts";

const bottleneckConfig = z.looseObject({
  bottleneck_size: z.int().min(1, "bottleneck_size must be at least 1").default(256),
  non_linearity: z.string().default("tanh"),
  adapter_dropout: z.number().min(0).lt(1).default(0),
  scaling: z.union([z.number(), z.literal("learned")], 'must be a number or "learned"').default(1),
  ...targetFields,
  use_parallel_adapter: z.boolean().default(false),
  use_adapterp: z.boolean().default(false),
  bias: z.enum(["none", "all", "adapter_only"]).default("none"),
  init_weights: z.enum(["bert", "lora", "mam_adapter"]).default("mam_adapter"),
});
export type BottleneckConfig = z.output<typeof bottleneckConfig>;

interface WeightStarts {
  readonly down: WeightStart;
  readonly up: WeightStart;
  /** Up starts at zero. */
  readonly isIdentity: boolean;
}
const bertStart: WeightStart = (shape) => normal(0.02, shape);
const fromZero: WeightStarts = { down: kaiming, up: (shape) => constant(0, shape), isIdentity: true };

const starts: Readonly<Record<BottleneckConfig["init_weights"], WeightStarts>> = {
  bert: { down: bertStart, up: bertStart, isIdentity: false },
  lora: fromZero,
  mam_adapter: fromZero,
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

const fused: LayerNames = { mlpIn: ["dense_h_to_4h"], mlpOut: ["dense_4h_to_h"], qkv: ["query_key_value"] };
const qkv = ["q_proj", "k_proj", "v_proj"] as const;

const gated: LayerNames = { mlpIn: ["gate_proj", "up_proj"], mlpOut: ["down_proj"], qkv };

/** By model_type. The fork has no gpt2 and no gpt_neox: by analogy. GPT-2 has a c_proj in its attention too. */
const layerNames: Readonly<Record<string, LayerNames>> = {
  llama: gated,
  mistral: gated,
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
  /** Which configs of the shared peft_type are its own, and the fields that make a new one so. */
  readonly matches: (config: BottleneckConfig) => boolean;
  readonly trainingDefaults?: Readonly<Partial<BottleneckConfig>>;
  readonly defaultTargets: (names: LayerNames) => readonly string[];
  /** Where the bottleneck stands at a module of a model; undefined if it has no place there. */
  readonly placementAt: (site: LinearSite, names: LayerNames | undefined) => Placement | undefined;
}

/** A method of the shared peft_type. */
export function defineLinearBottleneck(kind: LinearBottleneck): Method<BottleneckConfig> {
  return defineMethod<BottleneckConfig>({
    name: kind.name,
    peftType: "BOTTLENECK",
    tiny: { bottleneck_size: 4, non_linearity: "tanh" },
    sizeFields: ["bottleneck_size"],
    config: bottleneckConfig as z.ZodType<BottleneckConfig>,
    matches: kind.matches,
    ...(kind.trainingDefaults ? { trainingDefaults: kind.trainingDefaults } : {}),
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
  const chosen = { ...config, target_modules: targetModules };
  // The fork matches ends of paths without a dot before them; only its files need that.
  const options = { defaults: {}, origin, where, looseSuffix: origin === "file" };
  const sites = chosenLinears(kind.name, chosen, base, options).map((site) => {
    const placement = kind.placementAt(site, names);
    if (!placement) throw noPlace(kind, site, names, base, where);
    const sizes = { input: site.inDim, output: site.outDim };
    const [inDim, outDim] = [sizes[placement.from], sizes[placement.to]];
    const key = keyOf(site.name);
    const size = config.bottleneck_size;
    const { down, up } = start;
    return {
      site,
      placement,
      bottleneck: bottleneck(key, {
        down: dense(`${key}.adapter_down`, { inDim, outDim: size }, { hasBias: false, start: down }),
        up: dense(`${key}.adapter_up`, { inDim: size, outDim }, { hasBias: false, start: up }),
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
    ...biases.map(({ parameter }) => [parameter, keyOf(parameter)] as const),
    ...savedModules(config.modules_to_save ?? [], base, where),
  ]);
  const keys = [...sites.flatMap((own) => own.bottleneck.parameters.map((p) => p.key)), ...replaced.values()];
  return boundBottlenecks({
    method: kind.name,
    startsAsIdentity: start.isIdentity,
    sites,
    whole: replacing(replaced, base, where),
    settledConfig: chosen,
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

function noPlace(
  kind: LinearBottleneck,
  site: LinearSite,
  names: LayerNames | undefined,
  base: Base,
  where: string,
): ConfigError {
  const possible = names ? `; on ${base.modelType} it has one at ${[...names.mlpIn, ...names.mlpOut].join(", ")}` : "";
  return new ConfigError(
    `${where}: ${kind.name} has no place at ${site.name}${possible}. A parallel adapter (use_parallel_adapter) goes with any linear layer`,
  );
}

/** The fork's 8-bit preparation wraps the output layer, so that its file says lm_head.0.weight. */
function headAliases(keys: readonly string[], base: Base): Map<string, string> {
  const heads = base.sites.filter((site) => site.kind === "linear" && site.isHead);
  return new Map(
    heads.flatMap(({ name }) => {
      const begin = `${keyOf(name)}.`;
      return keys
        .filter((key) => key.startsWith(begin))
        .map((key) => [key, `${begin}0.${key.slice(begin.length)}`] as const);
    }),
  );
}
