/** Every adapter method. */
import { suggest, UnknownName } from "@graft/core/errors";
import { lora } from "./methods/lora.ts";
import { pTuning } from "./methods/p-tuning.ts";
import { prefixTuning } from "./methods/prefix-tuning.ts";
import { promptTuning } from "./methods/prompt-tuning.ts";
import type { Method } from "./method.ts";

export const methods = { lora, "p-tuning": pTuning, "prefix-tuning": prefixTuning, "prompt-tuning": promptTuning };
export type MethodName = keyof typeof methods;

/** By `peft_type` of adapter_config.json. Throws UnknownName. */
export function methodByPeftType(peftType: string, where: string): Method {
  const found = Object.values(methods).find((m) => m.peftType === peftType);
  if (!found) {
    const known = Object.values(methods).map((m) => m.peftType);
    throw new UnknownName(`${where}: unknown peft_type "${peftType}"${suggest(peftType, known)}`);
  }
  return found as unknown as Method;
}
