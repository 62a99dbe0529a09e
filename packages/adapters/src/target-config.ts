/** What most adapter configs of PEFT share: which modules they target, and options that are refused. */
import { ConfigError } from "@graft/core/errors";
import type { LinearSite, ModuleSite } from "@graft/core/nn";
import { z } from "zod";
import type { Base, ConfigOrigin } from "./method.ts";
import { selectModules } from "./targets.ts";

const oneOrMany = <T extends z.ZodType>(item: T) => z.union([item, z.array(item)]);
/** Names, or a regular expression over the whole path. */
export const moduleNames = z.union([z.string(), z.array(z.string())]);

/** Fields that every method has. */
export const targetFields = {
  target_modules: moduleNames.nullish(),
  exclude_modules: moduleNames.nullish(),
  modules_to_save: z.array(z.string()).nullish(),
};

/** Fields of the methods that can be kept to some layers. */
export const layerFields = {
  layers_to_transform: oneOrMany(z.int()).nullish(),
  layers_pattern: oneOrMany(z.string()).nullish(),
};

/** PEFT's default target modules by model_type. */
export type DefaultTargets = Readonly<Record<string, readonly string[]>>;

/** Those of most methods: LoRA's. */
export const attentionTargets: DefaultTargets = {
  bloom: ["query_key_value"],
  chatglm: ["query_key_value"],
  gpt2: ["c_attn"],
  gpt_neo: ["q_proj", "v_proj"],
  gpt_neox: ["query_key_value"],
  gptj: ["q_proj", "v_proj"],
  llama: ["q_proj", "v_proj"],
  mistral: ["q_proj", "v_proj"],
  opt: ["q_proj", "v_proj"],
};

export interface TargetConfig {
  readonly target_modules?: readonly string[] | string | null | undefined;
  readonly exclude_modules?: readonly string[] | string | null | undefined;
  readonly modules_to_save?: readonly string[] | null | undefined;
  readonly layers_to_transform?: number | readonly number[] | null | undefined;
  readonly layers_pattern?: string | readonly string[] | null | undefined;
}

export interface TargetOptions {
  readonly defaults: DefaultTargets;
  readonly origin: ConfigOrigin;
  readonly where: string;
  readonly looseSuffix?: boolean;
}

/** The places a config selects among `places`. Throws UnknownName or ConfigError, beginning with `where`. */
export function chosen<T extends { readonly name: string }>(
  places: readonly T[],
  config: TargetConfig,
  modelType: string,
  { defaults, origin, where, looseSuffix = false }: TargetOptions,
): T[] {
  const targetModules = config.target_modules ?? defaults[modelType];
  if (!targetModules) throw new ConfigError(`${where}: target_modules is not set and ${modelType} has no default`);
  const many = <V>(value: V | readonly V[] | null | undefined): readonly V[] | undefined =>
    value === null || value === undefined ? undefined : Array.isArray(value) ? value : [value as V];
  const rules = {
    targetModules,
    excludeModules: config.exclude_modules ?? undefined,
    layersToTransform: many(config.layers_to_transform),
    layersPattern: many(config.layers_pattern),
    savedModules: config.modules_to_save ?? undefined,
    skipUnknown: origin === "file",
    looseSuffix,
  };
  return selectModules(places, rules, where);
}

/** The sites a config selects. */
export function chosenSites(config: TargetConfig, base: Base, options: TargetOptions): ModuleSite[] {
  const modules = base.sites.filter((site) => site.kind !== "branch");
  return chosen(modules, config, base.modelType, options);
}

/** The linear sites a config selects. Throws ConfigError for an embedding. */
export function chosenLinears(method: string, config: TargetConfig, base: Base, options: TargetOptions): LinearSite[] {
  return chosenSites(config, base, options).map((site) => {
    if (site.kind !== "linear")
      throw new ConfigError(`${options.where}: ${method} on the embedding ${site.name} is not supported`);
    return site;
  });
}

/** Throws ConfigError for the first field of `reasons` that is set: an adapter that has one must not pass for one without. */
export function refuse(config: object, reasons: Readonly<Record<string, string>>, where: string): void {
  for (const [field, what] of Object.entries(reasons)) {
    const value: unknown = Reflect.get(config, field);
    const isUnset = !value || (Array.isArray(value) && value.length === 0);
    if (!isUnset) throw new ConfigError(`${where}: ${field} (${what}) is not supported`);
  }
}

/** Throws ConfigError for biases that a method trains and PEFT's files of it do not hold. */
export function refuseBias(method: string, bias: string, where: string): void {
  if (bias !== "none")
    throw new ConfigError(
      `${where}: bias "${bias}" is not supported: PEFT's files do not hold the biases that ${method} trains`,
    );
}

/** Throws ConfigError where a new adapter would train with a dropout that is not there. A file is only read: dropout is no part of its function. */
export function refuseDropout(
  config: object,
  fields: readonly string[],
  { where, origin }: { readonly where: string; readonly origin: ConfigOrigin },
): void {
  const reasons = Object.fromEntries(fields.map((field) => [field, "dropout of whole rows, blocks or modules"]));
  if (origin === "new") refuse(config, reasons, where);
}
