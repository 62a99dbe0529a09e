/** What a study compares: the paper's methods, each with its settings, for the same number of steps on the same batches. */
import { type AdapterConfig, methodsByName, newConfig } from "@graft/adapters";

export interface Recipe {
  /** As the paper's tables call it. */
  readonly title: string;
  readonly learningRate: number;
  /** Fields of the method's config. */
  readonly settings: Readonly<Record<string, unknown>>;
}

/**
 * By method. Learning rates are the best of 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2 on micro-math with graft-micro-llama (seed 1, the study's 300 steps). Sizes give
 * about as many trained parameters as each other, prefix tuning apart, whose parameters are the virtual tokens it has room for.
 */
export const recipes: Readonly<Record<string, Recipe>> = {
  "prefix-tuning": { title: "Prefix", learningRate: 5e-2, settings: { num_virtual_tokens: 16 } },
  series: { title: "Series", learningRate: 5e-3, settings: { bottleneck_size: 32, non_linearity: "tanh" } },
  adapterp: { title: "AdapterP", learningRate: 5e-3, settings: { bottleneck_size: 96, non_linearity: "tanh" } },
  parallel: { title: "Parallel", learningRate: 5e-3, settings: { bottleneck_size: 32, non_linearity: "tanh" } },
  lora: {
    title: "LoRA",
    learningRate: 5e-3,
    settings: { r: 8, lora_alpha: 16, lora_dropout: 0, target_modules: "all-linear" },
  },
};

/** The adapter config of a recipe. */
export function configOf(method: string): AdapterConfig {
  return newConfig(methodsByName.get(method)!, recipes[method]!.settings).config;
}
