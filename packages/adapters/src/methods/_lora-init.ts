/** Fresh values of a LoRA's parameters. */
import type { Random } from "@graft/core/random";
import type { Base } from "../method.ts";
import type { LoraConfig, LoraSite } from "./_lora-config.ts";
import { changedWeight, rowNorms } from "./_lora-weight.ts";

/** `replaced` maps base parameters that are trained whole to their keys: they start as they are. */
export async function initialise(
  config: LoraConfig,
  base: Base,
  sites: readonly LoraSite[],
  replaced: ReadonlyMap<string, string>,
  random: Random,
): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { site, r, keys } of sites) {
    const normal = (count: number, std: number) => Float32Array.from({ length: count }, () => std * random.normal());
    // nn.Linear's default, Kaiming uniform with a = sqrt(5): U(-1/sqrt(fan in), 1/sqrt(fan in)).
    const uniform = (count: number, fanIn: number) =>
      Float32Array.from({ length: count }, () => (2 * random.uniform() - 1) / Math.sqrt(fanIn));
    if (site.kind === "embedding") {
      values.set(keys.a, new Float32Array(r * site.rows));
      values.set(keys.b, normal(site.columns * r, 1));
      continue;
    }
    const { init_lora_weights: init } = config;
    values.set(keys.a, init === "gaussian" ? normal(r * site.inDim, 1 / r) : uniform(r * site.inDim, site.inDim));
    values.set(keys.b, init === false ? uniform(site.outDim * r, r) : new Float32Array(site.outDim * r));
    if (keys.magnitude)
      values.set(
        keys.magnitude,
        rowNorms(await changedWeight(base, { site, r, scaling: 0, keys }, values), site.outDim),
      );
  }
  for (const [name, key] of replaced) values.set(key, await base.read(name));
  return values;
}
