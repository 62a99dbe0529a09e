/** Options of the commands that run a model. */
import type { Quantization } from "@graft/core/models";
import { z } from "zod";
import { oneOf, UsageError } from "./command.ts";

export const dtypeOption = oneOf(["auto", "f32", "f16", "bf16"])
  .default("auto")
  .describe("storage of the base's matrices: f32, f16, bf16, or auto, as the checkpoint has them");

/** Spelled out, so that commands whose process must not load the driver can have the option. */
const methods: Record<Quantization["method"], string> = {
  int8: "8 bits, a scale for each output",
  nf4: "4 bits, a scale for each 64 weights",
};
const methodNames = Object.keys(methods) as Quantization["method"][];

export const quantizationOptions = {
  quantization: oneOf(["none", ...methodNames])
    .optional()
    .describe(
      `storage of the linear layers' weights: ${methodNames.map((name) => `${name} (${methods[name]})`).join(", ")}, or none; default: as the folder has them`,
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
