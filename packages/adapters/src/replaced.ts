/** The part of a bound method that trains parameters of the base whole: their keys, values, hook and merge. */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { AdapterParameter, Hooks, ModuleSite } from "@graft/core/nn";
import { trainedBiases } from "./base-parameters.ts";
import type { Base, BoundMethod } from "./method.ts";

/** Parameter of the base to its key in the adapter's file. */
export type Replaced = ReadonlyMap<string, string>;

/** Keys of one module's tensors begin so. */
export function keyOf(module: string): string {
  return `base_model.model.${module}`;
}

/** Biases that are trained ("none", "all", or those of the targets), with their keys: under an adapter a layer's own parameters are those of its base_layer. */
export function wrappedBiases(bias: string, base: Base, targets: ReadonlySet<string>): Replaced {
  const which = bias === "none" || bias === "all" ? bias : "targets";
  return new Map(
    trainedBiases(which, base, targets).map(({ module, parameter }) => [
      parameter,
      `${keyOf(module)}.${targets.has(module) ? "base_layer." : ""}bias`,
    ]),
  );
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
