/** A plain LoRA from factors that were computed, not trained: what combining and converting give. */
import { ConfigError } from "@graft/core/errors";
import type { ModuleSite } from "@graft/core/nn";
import { type AdapterConfig, bindAdapter, type LoadedAdapter } from "./adapter.ts";
import type { Matrix } from "./linear-algebra.ts";
import { lora } from "./methods/lora.ts";
import type { Base } from "./method.ts";
import { newConfig } from "./new-config.ts";

/** The change of a module's weight is b a. a: [r, in]; b: [out, r]; on an embedding [r, rows] and [columns, r]. */
export interface SiteFactors {
  readonly site: ModuleSite;
  readonly a: Matrix;
  readonly b: Matrix;
}

/**
 * A LoRA whose change of each weight is b a: lora_alpha is r, so that the scaling is 1; sites of another rank than the largest are in rank_pattern and alpha_pattern.
 * `like`: the config that base, task and dropout are taken from.
 */
export function loraOfFactors(factors: readonly SiteFactors[], base: Base, like: AdapterConfig): LoadedAdapter {
  const r = Math.max(...factors.map(({ a }) => a.rows));
  const pattern = Object.fromEntries(factors.filter(({ a }) => a.rows !== r).map(({ site, a }) => [site.name, a.rows]));
  const names = factors.map(({ site }) => site.name);
  const make = (targets: readonly string[]): AdapterConfig => ({
    ...newConfig(lora as unknown as Parameters<typeof newConfig>[0], {
      r,
      lora_alpha: r,
      lora_dropout: typeof like.lora_dropout === "number" ? like.lora_dropout : 0,
      target_modules: targets,
      fan_in_fan_out: factors.some(({ site }) => site.kind === "linear" && site.fanInFanOut),
      rank_pattern: pattern,
      alpha_pattern: pattern,
    }).config,
    task_type: like.task_type ?? "CAUSAL_LM",
    base_model_name_or_path: like.base_model_name_or_path ?? null,
  });
  const bind = (config: AdapterConfig) => {
    const bound = bindAdapter(config, base, "the new adapter's config");
    if (!bound.lowRank || !("changes" in bound.lowRank)) throw new Error("a plain LoRA is a product of two matrices");
    return { config, bound, changes: bound.lowRank.changes };
  };
  // The last word of each path, as people write targets, where that selects these modules and no others.
  const short = bind(make([...new Set(names.map((name) => name.split(".").at(-1)!))].toSorted()));
  const { config, bound, changes } = short.changes.length === names.length ? short : bind(make(names));
  const values = new Map<string, Float32Array>();
  const bySite = new Map(factors.map((own) => [own.site.name, own]));
  for (const { site, r: rank, a, b } of changes) {
    const own = bySite.get(site.name);
    if (own?.a.rows !== rank) throw new ConfigError(`${site.name}: rank ${rank} is asked for, ${own?.a.rows} is given`);
    values.set(a, Float32Array.from(own.a.data));
    values.set(b, Float32Array.from(own.b.data));
  }
  return { config, bound, values };
}
