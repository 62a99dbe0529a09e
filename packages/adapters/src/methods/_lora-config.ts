/** What a LoRA config says: its fields with PEFT's names and defaults, and the sites it selects. */
import { ConfigError } from "@graft/core/errors";
import type { ModuleSite } from "@graft/core/nn";
import { z } from "zod";
import { storedNames } from "../base.ts";
import type { Base, ConfigOrigin } from "../method.ts";
import { keyOf } from "../replaced.ts";
import { attentionTargets, chosenSites, layerFields, refuse, targetFields } from "../target-config.ts";
import { patternValue } from "../targets.ts";

export const loraConfig = z.looseObject({
  r: z.int().min(1, "r must be at least 1").default(8),
  lora_alpha: z.number().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  ...targetFields,
  ...layerFields,
  bias: z.enum(["none", "all", "lora_only"]).default("none"),
  fan_in_fan_out: z.boolean().default(false),
  use_rslora: z.boolean().default(false),
  use_dora: z.boolean().default(false),
  init_lora_weights: z.union([z.boolean(), z.string()]).default(true),
  rank_pattern: z.record(z.string(), z.int().min(1)).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  /** Only in the fork's files: one flag for each third of a fused projection. */
  enable_lora: z.array(z.boolean()).nullish(),
  merge_weights: z.boolean().optional(),
  ensure_weight_tying: z.boolean().nullish(),
});
export type LoraConfig = z.output<typeof loraConfig>;

/** Fields of PEFT's that make LoRA another function. */
export const otherFunctions: Readonly<Record<string, string>> = {
  lora_bias: "a bias in B",
  layer_replication: "layers that stand in the model several times",
  target_parameters: "LoRA on bare parameters",
  trainable_token_indices: "single rows of the embedding",
  alora_invocation_tokens: "activation by tokens of the prompt",
  use_qalora: "pooled inputs",
  use_bdlora: "block-diagonal factors",
  kasa_config: "a truncated base",
  monteclora_config: "sampled weights",
  arrow_config: "routing between adapters",
};

/** Throws ConfigError, beginning with `where`, for a config that asks for what this LoRA does not do. */
export function checkFunction(config: LoraConfig, base: Base, where: string): void {
  refuse(config, otherFunctions, where);
  if (config.ensure_weight_tying && storedNames(base.sites).size > 0)
    throw new ConfigError(`${where}: ensure_weight_tying on a base with a tied output layer is not supported`);
}

export interface LoraSite {
  readonly site: ModuleSite;
  readonly r: number;
  readonly scaling: number;
  readonly keys: {
    readonly a: string;
    readonly b: string;
    readonly magnitude: string | undefined;
    /** What A and B began with, where that is taken out of the base (PiSSA, OLoRA): frozen. */
    readonly start: { readonly a: string; readonly b: string } | undefined;
  };
}

/** The sites a config selects; `isTaken` where what they begin with is taken out of the base. Throws UnknownName or ConfigError, beginning with `where`. */
export function loraSites(
  config: LoraConfig,
  base: Base,
  { isTaken, origin, where }: { readonly isTaken: boolean; readonly origin: ConfigOrigin; readonly where: string },
): LoraSite[] {
  const sites = chosenSites(config, base, {
    defaults: attentionTargets,
    origin,
    where,
    // Only the fork writes merge_weights.
    looseSuffix: config.merge_weights !== undefined,
  });
  return sites.map((site) => {
    const r = patternValue(config.rank_pattern ?? {}, site.name, config.r, where);
    const alpha = patternValue(config.alpha_pattern ?? {}, site.name, config.lora_alpha, where);
    const key = keyOf(site.name);
    if (site.kind === "embedding" && config.use_dora)
      throw new ConfigError(`${where}: use_dora on the embedding ${site.name} is not supported`);
    return {
      site,
      r,
      scaling: alpha / (config.use_rslora ? Math.sqrt(r) : r),
      keys:
        site.kind === "embedding"
          ? { a: `${key}.lora_embedding_A`, b: `${key}.lora_embedding_B`, magnitude: undefined, start: undefined }
          : {
              a: `${key}.lora_A.weight`,
              b: `${key}.lora_B.weight`,
              magnitude: config.use_dora ? `${key}.lora_magnitude_vector` : undefined,
              start: isTaken ? { a: `${key}.lora_A0.weight`, b: `${key}.lora_B0.weight` } : undefined,
            },
    };
  });
}
