/** Options of the commands that run a model. */
import { type Quantization, quantizationMethods } from "@graft/core/models";
import { z } from "zod";
import { oneOf, UsageError } from "./command.ts";

export const dtypeOption = oneOf(["auto", "f32", "f16", "bf16"])
  .default("auto")
  .describe("storage of the base's matrices: f32, f16, bf16, or auto, as the checkpoint has them");

export const quantizationOptions = {
  quantization: oneOf(["none", ...quantizationMethods])
    .optional()
    .describe(
      `storage of the linear layers' weights: ${quantizationMethods.join(", ")}, or none; default: as the folder has them`,
    ),
  quantizationSkipModules: z
    .array(z.string())
    .optional()
    .describe("linear layers that --quantization leaves alone, besides the output layer"),
};

/** What a base is loaded with. Throws UsageError for modules to skip where nothing is quantised. */
export function quantizationOf({
  quantization,
  quantizationSkipModules,
}: {
  readonly quantization?: "none" | Quantization["method"] | undefined;
  readonly quantizationSkipModules?: readonly string[] | undefined;
}): Quantization | "none" | undefined {
  if (quantization !== undefined && quantization !== "none")
    return { method: quantization, skipModules: quantizationSkipModules ?? [] };
  if (quantizationSkipModules) throw new UsageError("--quantization-skip-modules goes with --quantization int8 or nf4");
  return quantization;
}

export const modelOptions = {
  model: z.string().describe("folder of the base model, or a hub name"),
  adapter: z.string().optional().describe("folder of a PEFT adapter"),
  dtype: dtypeOption,
  ...quantizationOptions,
};
