/**
 * The LLM-Adapters fork's LoRA of a fused projection (loralib's MergedLinear): the outputs are cut into as many equal parts as `enable_lora` has flags, and each part with
 * a true flag gets a LoRA of its own, W_i x + (alpha / r) B_i A_i x. Parts are runs of outputs: query, key and value where those stand one after the other (GPT-2), ranges of
 * heads where each head has its own (BLOOM, GPT-NeoX).
 */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import { add, matmul, place, reshape, slice } from "@graft/core/ops";
import { z } from "zod";
import { type Matrix, matrix, multiply, takeRows } from "../linear-algebra.ts";
import { defineLinearMethod, type LinearAdapter } from "../linear-method.ts";
import { constant, kaiming } from "../starts.ts";
import { targetFields } from "../target-config.ts";

const fusedLoraConfig = z.looseObject({
  ...targetFields,
  r: z.int().min(1, "r must be at least 1").default(8),
  lora_alpha: z.number().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  enable_lora: z.array(z.boolean()).nullish(),
  bias: z.enum(["none", "all", "lora_only"]).default("none"),
  fan_in_fan_out: z.boolean().default(false),
  merge_weights: z.boolean().optional(),
});
type FusedLoraConfig = z.output<typeof fusedLoraConfig>;
type Names = "lora_A.weight" | "lora_B.weight";

export const fusedLora = {
  ...defineLinearMethod<FusedLoraConfig>({
    name: "fused-lora",
    peftType: "LORA",
    tiny: { r: 2, lora_alpha: 4, enable_lora: [true, false] },
    sizeFields: ["r", "lora_alpha"],
    config: fusedLoraConfig as z.ZodType<FusedLoraConfig>,
    startsAsIdentity: () => true,
    at({ name, inDim, outDim }, config, { where }): LinearAdapter<Names> {
      const { r, lora_alpha: alpha, lora_dropout: p } = config;
      const flags = config.enable_lora!;
      if (outDim % flags.length !== 0)
        throw new ConfigError(
          `${where}: enable_lora has ${flags.length} flags, ${name} has ${outDim} outputs, which is no multiple`,
        );
      const part = outDim / flags.length;
      const begins = flags.flatMap((isOn, i) => (isOn ? [i * part] : []));
      const scale = alpha / r;
      return {
        parameters: {
          "lora_A.weight": kaiming([begins.length * r, inDim]),
          // As the fork's convolution over groups has it.
          "lora_B.weight": constant(0, [begins.length * part, r, 1]),
        },
        apply({ x, f, drop }, { "lora_A.weight": a, "lora_B.weight": b }) {
          const low = matmul(drop(x, p), a, { transB: true }); // [tokens, groups * r]
          const up = reshape(b, [begins.length * part, r]);
          return begins.reduce((sum: Tensor, begin, i) => {
            const own = matmul(slice(low, 1, i * r, r), slice(up, 0, i * part, part), { transB: true, scale });
            return add(sum, place(own, 1, begin, outDim)); // [tokens, out]
          }, f(x));
        },
        merge(weight, { "lora_A.weight": a, "lora_B.weight": b }) {
          const merged: Matrix = matrix(weight.rows, weight.columns, weight.data);
          for (const [i, begin] of begins.entries()) {
            const change = multiply(takeRows(b, i * part, (i + 1) * part), takeRows(a, i * r, (i + 1) * r)); // [part, in]
            for (const [at, x] of change.data.entries()) {
              const own = begin * inDim + at;
              merged.data[own] = merged.data[own]! + scale * x;
            }
          }
          return merged;
        },
      };
    },
  }),
  matches: (config: FusedLoraConfig) => isFused(config),
};

/** Does a LORA config name parts of fused projections? */
export function isFused(config: { readonly enable_lora?: readonly boolean[] | null | undefined }): boolean {
  return config.enable_lora?.includes(true) ?? false;
}
