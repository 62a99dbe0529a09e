/** (IA)3: learned factors, one for each output of keys and values, one for each input of the MLP's second layer (Liu et al. 2022, arXiv:2205.05638, section 3.3). */
import type { LinearSite } from "@graft/core/nn";
import { mulColumns } from "@graft/core/ops";
import { ConfigError } from "@graft/core/errors";
import { z } from "zod";
import { scaledColumns, scaledRows } from "../linear-algebra.ts";
import { type Binding, defineLinearMethod, type LinearAdapter } from "../linear-method.ts";
import { constant, normal } from "../starts.ts";
import { moduleNames, targetFields } from "../target-config.ts";
import { wholePath } from "../targets.ts";

const ia3Config = z.looseObject({
  ...targetFields,
  feedforward_modules: moduleNames.nullish(),
  fan_in_fan_out: z.boolean().default(false),
  init_ia3_weights: z.boolean().default(true),
});
type Ia3Config = z.output<typeof ia3Config>;

const defaultTargets = {
  bloom: ["query_key_value", "mlp.dense_4h_to_h"],
  gpt2: ["c_attn", "mlp.c_proj"],
  gpt_neo: ["q_proj", "v_proj", "c_proj"],
  gpt_neox: ["query_key_value", "dense_4h_to_h"],
  gptj: ["q_proj", "v_proj", "fc_out"],
  llama: ["k_proj", "v_proj", "down_proj"],
  mistral: ["k_proj", "v_proj", "down_proj"],
  opt: ["q_proj", "k_proj", "fc2"],
};

/** Those whose input is scaled. */
const defaultFeedforward: Readonly<Record<string, readonly string[]>> = {
  bloom: ["mlp.dense_4h_to_h"],
  gpt2: ["mlp.c_proj"],
  gpt_neo: ["c_proj"],
  gpt_neox: ["dense_4h_to_h"],
  gptj: ["fc_out"],
  llama: ["down_proj"],
  mistral: ["down_proj"],
  opt: ["fc2"],
};

export const ia3 = defineLinearMethod<Ia3Config>({
  name: "ia3",
  peftType: "IA3",
  tiny: {},
  config: ia3Config as z.ZodType<Ia3Config>,
  defaultTargets,
  startsAsIdentity: (config) => config.init_ia3_weights,
  check({ target_modules: targets, feedforward_modules: feedforward }, { where }) {
    if (!Array.isArray(targets) || !Array.isArray(feedforward)) return;
    const other = feedforward.find((name) => !targets.includes(name));
    if (other !== undefined)
      throw new ConfigError(`${where}: feedforward_modules names "${other}", which is not among target_modules`);
  },
  at: (site, config, binding) =>
    isFeedforward(site, config, binding) ? scaledInput(site, config) : scaledOutput(site, config),
});

function scaledInput({ inDim }: LinearSite, config: Ia3Config): LinearAdapter<"ia3_l"> {
  return {
    parameters: { ia3_l: begin(config, [1, inDim]) },
    apply: ({ x, f }, { ia3_l: l }) => f(mulColumns(x, l)),
    merge: (weight, { ia3_l: l }) => scaledColumns(weight, l.data),
  };
}

function scaledOutput({ outDim }: LinearSite, config: Ia3Config): LinearAdapter<"ia3_l"> {
  return {
    parameters: { ia3_l: begin(config, [outDim, 1]) },
    apply: ({ x, f }, { ia3_l: l }) => mulColumns(f(x), l),
    merge: (weight, { ia3_l: l }) => scaledRows(weight, l.data),
    mergeBias: (bias, { ia3_l: l }) => bias.map((v, at) => v * l.data[at]!),
  };
}

function begin({ init_ia3_weights: isOne }: Ia3Config, shape: readonly number[]) {
  return isOne ? constant(1, shape) : normal(1, shape);
}

/** As in PEFT, the end of a path without a dot before it. */
function isFeedforward({ name }: LinearSite, config: Ia3Config, { base, where }: Binding): boolean {
  const names = config.feedforward_modules ?? defaultFeedforward[base.modelType];
  if (!names) throw new ConfigError(`${where}: feedforward_modules is not set and ${base.modelType} has no default`);
  return typeof names === "string" ? wholePath(names, where).test(name) : names.some((end) => name.endsWith(end));
}
