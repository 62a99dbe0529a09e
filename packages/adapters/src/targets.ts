/** Which sites an adapter's config selects, by PEFT's rules. */
import { ConfigError, suggest, UnknownName } from "@graft/core/errors";
import type { Site } from "@graft/core/nn";

export interface TargetRules {
  /** Names, a regular expression over the whole path, or "all-linear". */
  readonly targetModules: readonly string[] | string;
  readonly excludeModules?: readonly string[] | string | undefined;
  readonly layersToTransform?: readonly number[] | undefined;
  readonly layersPattern?: readonly string[] | undefined;
  /** The fork matches the end of the path without a dot before it. */
  readonly looseSuffix?: boolean;
}

/**
 * Sites that the rules select, in the model's order. A name matches a whole path or its end after a dot; a string is a regular expression that must match
 * the whole path. Throws UnknownName listing near names if a name matches nothing, ConfigError if nothing is selected at all.
 */
export function selectSites(sites: readonly Site[], rules: TargetRules, where: string): Site[] {
  const { targetModules } = rules;
  const all = targetModules === "all-linear";
  const matches = matcher(targetModules, rules.looseSuffix ?? false, where);
  const excluded = rules.excludeModules === undefined ? () => false : matcher(rules.excludeModules, false, where);
  const selected = sites.filter((site) => {
    if (excluded(site.name) || !inLayers(site, rules)) return false;
    return all ? site.kind === "linear" && !site.isHead : matches(site.name);
  });
  if (Array.isArray(targetModules)) {
    for (const name of targetModules as readonly string[]) {
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
    const pattern = compile(`^(?:${rule})$`, where);
    return (name) => pattern.test(name);
  }
  return (name) => rule.some((end) => name === end || name.endsWith(loose ? end : `.${end}`));
}

/** layers_to_transform keeps sites whose path has one of those indexes after the layer list's name (any dotted number if no pattern is given). */
function inLayers(site: Site, { layersToTransform, layersPattern }: TargetRules): boolean {
  if (!layersToTransform || layersToTransform.length === 0) return true;
  const patterns =
    layersPattern && layersPattern.length > 0
      ? layersPattern.map((p) => new RegExp(`.*\\.${p}\\.(\\d+)\\.`))
      : [/.*\.[^.]*\.(\d+)\./];
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

function compile(source: string, where: string): RegExp {
  try {
    return new RegExp(source);
  } catch (cause) {
    throw new ConfigError(`${where}: ${source} is no regular expression`, { cause });
  }
}
