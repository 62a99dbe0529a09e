/** Options of the commands that run a model. */
import { z } from "zod";
import { oneOf } from "./command.ts";

export const dtypeOption = oneOf(["auto", "f32", "f16", "bf16"])
  .default("auto")
  .describe("storage of the base's matrices: f32, f16, bf16, or auto, as the checkpoint has them");

export const modelOptions = {
  model: z.string().describe("folder of the base model, or a hub name"),
  adapter: z.string().optional().describe("folder of a PEFT adapter"),
  dtype: dtypeOption,
};
