/** Which sites an adapter's config selects, by PEFT's rules. */
import { ConfigError, suggest, UnknownName } from "@graft/core/errors";

/** What rules choose from: sites, or modules that are none. */
export interface Target {
  readonly name: string;
  readonly kind?: string;
  readonly isHead?: boolean;
}

export interface TargetRules {
  /** Names, a regular expression over the whole path, or "all-linear". */
  readonly targetModules: readonly string[] | string;
  readonly excludeModules?: readonly string[] | string | undefined;
  readonly layersToTransform?: readonly number[] | undefined;
  readonly layersPattern?: readonly string[] | undefined;
  /** Modules that are trained whole (modules_to_save): never targets. */
  readonly savedModules?: readonly string[] | undefined;
  /** A name that is no module of this model is skipped if others select something; otherwise it is an error. */
  readonly skipUnknown?: boolean;
  /** The fork matches the end of the path without a dot before it. */
  readonly looseSuffix?: boolean;
}

/**
 * Modules that the rules select, in the model's order. A name matches a whole path or its end after a dot; a string is a regular expression that must match
 * the whole path. Throws UnknownName listing near names if a name matches nothing, ConfigError if nothing is selected at all.
 */
export function selectModules<T extends Target>(sites: readonly T[], rules: TargetRules, where: string): T[] {
  const { targetModules } = rules;
  const isList = typeof targetModules !== "string";
  for (const field of ["layersToTransform", "layersPattern"] as const) {
    if (rules[field] === undefined || isList) continue;
    const name = field === "layersToTransform" ? "layers_to_transform" : "layers_pattern";
    throw new ConfigError(`${where}: ${name} goes with target_modules as a list of names, not with a text`);
  }
  if (rules.layersPattern !== undefined && rules.layersToTransform === undefined)
    throw new ConfigError(`${where}: layers_pattern needs layers_to_transform`);
  const isAllLinear = !isList && targetModules.toLowerCase() === "all-linear";
  const matches = matcher(targetModules, rules.looseSuffix ?? false, where);
  const excluded = rules.excludeModules === undefined ? () => false : matcher(rules.excludeModules, false, where);
  const saved = (rules.savedModules ?? []).map((name) => compile(`^(?:.*\\.)?(?:${name})(?:$|\\.)`, where));
  const selected = sites.filter((site) => {
    if (excluded(site.name) || saved.some((pattern) => pattern.test(site.name))) return false;
    if (isAllLinear) return site.kind === "linear" && !site.isHead;
    // Whole paths are taken whatever their layer.
    return matches(site.name) && ((isList && targetModules.includes(site.name)) || inLayers(site, rules, where));
  });
  if (isList && (!rules.skipUnknown || selected.length === 0)) {
    for (const name of targetModules) {
      const one = matcher([name], rules.looseSuffix ?? false, where);
      if (sites.some((site) => one(site.name))) continue;
      const ends = new Set(sites.map((site) => site.name.split(".").at(-1)!));
      throw new UnknownName(`${where}: target module "${name}" is no module of this model${suggest(name, ends)}`);
    }
  }
  if (selected.length === 0) {
    throw new ConfigError(`${where}: target_modules ${JSON.stringify(targetModules)} select nothing in this model`);
  }
  return selected;
}

function matcher(rule: readonly string[] | string, loose: boolean, where: string): (name: string) => boolean {
  if (typeof rule === "string") {
    const pattern = wholePath(rule, where);
    return (name) => pattern.test(name);
  }
  return (name) => rule.some((end) => name === end || name.endsWith(loose ? end : `.${end}`));
}

/** layers_to_transform keeps sites with one of those indexes after the layer list's name: the first dotted number if no pattern is given. */
function inLayers(site: Target, { layersToTransform, layersPattern }: TargetRules, where: string): boolean {
  if (!layersToTransform || layersToTransform.length === 0) return true;
  const patterns =
    layersPattern && layersPattern.length > 0
      ? layersPattern.map((p) => compile(`^(?:.*?\\.)?(?:${p})\\.(\\d+)\\.`, where))
      : [/^.*?\.[^.]*\.(\d+)\./];
  const index = patterns.map((p) => p.exec(site.name)?.[1]).find((found) => found !== undefined);
  return index !== undefined && layersToTransform.includes(Number(index));
}

/** The value of the first key of a rank_pattern or alpha_pattern that matches the end of the path (PEFT's get_pattern_key). */
export function patternValue(
  pattern: Readonly<Record<string, number>>,
  name: string,
  otherwise: number,
  where: string,
): number {
  for (const [key, value] of Object.entries(pattern)) {
    if (compile(`^(?:.*\\.)?(?:${key})$`, where).test(name)) return value;
  }
  return otherwise;
}

/** Of a module's path, all of it. Throws ConfigError, beginning with `where`, for what is no regular expression. */
export function wholePath(rule: string, where: string): Pattern {
  return compile(`^(?:${rule})$`, where);
}

type Pattern = Pick<RegExp, "test" | "exec">;

/** What one pattern may take over all modules. A match that goes back and forth without end takes a second until the engine gives it up, for each module again. */
const MAX_PATTERN_MS = 200;

/** Throws ConfigError, beginning with `where`, for what is no regular expression; what it returns, for one that takes too long. */
function compile(source: string, where: string): Pattern {
  let pattern: RegExp;
  try {
    pattern = new RegExp(source);
  } catch (cause) {
    throw new ConfigError(`${where}: ${source} is no regular expression`, { cause });
  }
  let spentMs = 0;
  const exec = (text: string): RegExpExecArray | null => {
    const since = performance.now();
    const found = pattern.exec(text);
    spentMs += performance.now() - since;
    if (spentMs > MAX_PATTERN_MS)
      throw new ConfigError(
        `${where}: the regular expression ${source} takes too long to match; write it without nested repetitions`,
      );
    return found;
  };
  return { exec, test: (text) => exec(text) !== null };
}
