/** LN tuning: the norms are trained, all else stays (Zhao et al. 2023, arXiv:2312.11420). A target may be any module with weights. */
import { z } from "zod";
import { pathsAbove, savedModules } from "../base-parameters.ts";
import { defineMethod } from "../method.ts";
import { keyOf, replacing } from "../replaced.ts";
import { chosen, targetFields } from "../target-config.ts";

const lnTuningConfig = z.looseObject(targetFields);
type LnTuningConfig = z.output<typeof lnTuningConfig>;

const defaults = {
  bloom: ["input_layernorm", "post_attention_layernorm", "ln_f"],
  gpt2: ["ln_1", "ln_2", "ln_f"],
  gptj: ["ln_1", "ln_f"],
  llama: ["input_layernorm", "post_attention_layernorm", "norm"],
  mistral: ["input_layernorm", "post_attention_layernorm", "norm"],
};

export const lnTuning = defineMethod<LnTuningConfig>({
  name: "ln-tuning",
  peftType: "LN_TUNING",
  tiny: {},
  config: lnTuningConfig as z.ZodType<LnTuningConfig>,
  bind(config, base, where, origin) {
    const places = [...new Set(base.parameters.flatMap(pathsAbove))].map((name) => ({ name }));
    const targets = chosen(places, config, base.modelType, { defaults, origin, where }).map(({ name }) => name);
    const tuned = base.parameters.flatMap((parameter): [string, string][] => {
      const module = targets.find((name) => parameter.startsWith(`${name}.`));
      if (module === undefined) return [];
      return [[parameter, `${keyOf(module)}.ln_tuning_layers.${parameter.slice(module.length + 1)}`]];
    });
    const whole = replacing(
      new Map([...tuned, ...savedModules(config.modules_to_save ?? [], base, where)]),
      base,
      where,
    );
    return {
      method: "ln-tuning",
      startsAsIdentity: true,
      parameters: whole.parameters,
      savedBase: [],
      async initialise() {
        const values = new Map<string, Float32Array>();
        await whole.initialise(values);
        return values;
      },
      hooks: ({ parameter }) => ({ parameter: whole.hook(parameter) }),
      merge: (values) => whole.merge(values),
    };
  },
});
