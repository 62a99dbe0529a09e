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
 * By method. LoRA's learning rate is the demo's, and the bottleneck adapters have the same; prefix tuning's is the best of 2e-2, 5e-2 and 1e-1 on micro-math
 * with graft-micro-llama. Bottleneck adapters get about as many trained parameters as LoRA.
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
