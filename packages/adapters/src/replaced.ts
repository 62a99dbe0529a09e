/** Parameters of the base that an adapter trains whole: modules_to_save and biases. */
import { ConfigError, suggest } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { AdapterParameter, Hooks, ModuleSite } from "@graft/core/nn";
import type { Base, BoundMethod } from "./method.ts";

/** Parameter of the base to its key in the adapter's file. */
export type Replaced = ReadonlyMap<string, string>;

/** Keys of one module's tensors begin so. */
export function keyOf(module: string): string {
  return `base_model.model.${module}`;
}

/** "a.b.weight": "a", "a.b". */
export function pathsAbove(parameter: string): string[] {
  const words = parameter.split(".").slice(0, -1);
  return words.map((_, i) => words.slice(0, i + 1).join("."));
}

/**
 * Parameters of modules_to_save. A name is the end of a module's path, as in PEFT without a dot before it: "norm" is every norm of a llama.
 * Throws ConfigError, beginning with `where`, for a name that is no module with weights.
 */
export function savedModules(names: readonly string[] | null | undefined, base: Base, where: string): Replaced {
  const saved = new Map<string, string>();
  const modules = new Map(base.parameters.map((parameter) => [parameter, pathsAbove(parameter)]));
  for (const name of names ?? []) {
    const found = base.parameters.filter((parameter) => modules.get(parameter)!.some((path) => path.endsWith(name)));
    if (found.length === 0) {
      const ends = new Set([...modules.values()].flat().map((path) => path.split(".").at(-1)!));
      throw new ConfigError(
        `${where}: modules_to_save names "${name}", which is no module with weights${suggest(name, ends)}`,
      );
    }
    for (const parameter of found) saved.set(parameter, keyOf(parameter));
  }
  return saved;
}

/** Biases that are trained ("none", "all", or those of the targets): under an adapter a layer's own parameters are those of its base_layer. */
export function trainedBiases(bias: string, base: Base, targets: ReadonlySet<string>): Replaced {
  const biases = new Map<string, string>();
  if (bias === "none") return biases;
  for (const parameter of base.parameters) {
    const module = parameter.split(".").slice(0, -1).join(".");
    if (parameter !== `${module}.bias` || (bias !== "all" && !targets.has(module))) continue;
    biases.set(parameter, `${keyOf(module)}.${targets.has(module) ? "base_layer." : ""}bias`);
  }
  return biases;
}

/** Before PEFT wrapped the layer, and in the fork, a bias kept its own name. */
export function olderBiasKeys(biases: Replaced): ReadonlyMap<string, string> {
  return new Map([...biases].map(([name, key]) => [key, keyOf(name)]));
}

/** The embedding and output layers among the targets: PEFT saves their weights beside the adapter. */
export function savedBaseOf(sites: readonly ModuleSite[]): BoundMethod["savedBase"] {
  return sites.flatMap((site) =>
    site.kind === "embedding" || site.isHead
      ? [{ key: `${keyOf(site.name)}.base_layer.weight`, parameter: `${site.name}.weight` }]
      : [],
  );
}

/** Their part of a bound method. */
export interface Replacing {
  readonly parameters: readonly AdapterParameter[];
  /** They start as they are in the base. */
  initialise(values: Map<string, Float32Array>): Promise<void>;
  hook(parameter: (key: string) => Tensor): NonNullable<Hooks["parameter"]>;
  merge(values: ReadonlyMap<string, Float32Array>): Map<string, () => Promise<Float32Array>>;
}

export function replacing(replaced: Replaced, base: Base, where: string): Replacing {
  return {
    parameters: [...replaced].map(([name, key]) => ({ key, shape: base.shapeOf(name)!, trainable: true })),
    async initialise(values) {
      for (const [name, key] of replaced) values.set(key, await base.read(name));
    },
    hook: (parameter) => (name) => {
      const key = replaced.get(name);
      return key === undefined ? undefined : parameter(key);
    },
    merge: (values) => new Map([...replaced].map(([name, key]) => [name, async () => valueOf(values, key, where)])),
  };
}

/** The values of a key. Throws ConfigError, beginning with `where`, if there are none. */
export function valueOf(values: ReadonlyMap<string, Float32Array>, key: string, where: string): Float32Array {
  const found = values.get(key);
  if (!found) throw new ConfigError(`${where}: ${key} is missing`);
  return found;
}
