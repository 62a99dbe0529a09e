/** What LoHa and LoKr share (LyCORIS; Yeh et al. 2023, arXiv:2309.14859). */
import { z } from "zod";
import { layerFields, targetFields } from "../target-config.ts";
import { patternValue } from "../targets.ts";

export const lycorisFields = {
  ...targetFields,
  ...layerFields,
  r: z.int().min(1, "r must be at least 1").default(8),
  alpha: z.number().default(8),
  rank_dropout: z.number().min(0).lt(1).default(0),
  module_dropout: z.number().min(0).lt(1).default(0),
  rank_pattern: z.record(z.string(), z.int().min(1)).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
};

interface Ranks {
  readonly r: number;
  readonly alpha: number;
  readonly rank_pattern?: Readonly<Record<string, number>> | null | undefined;
  readonly alpha_pattern?: Readonly<Record<string, number>> | null | undefined;
}

/** The rank at a site, and alpha / r. */
export function rankAndScale(
  config: Ranks,
  site: string,
  where: string,
): { readonly r: number; readonly scale: number } {
  const r = patternValue(config.rank_pattern ?? {}, site, config.r, where);
  return { r, scale: patternValue(config.alpha_pattern ?? {}, site, config.alpha, where) / r };
}
