/** Every adapter method. */
import { suggest, UnknownName } from "@graft/core/errors";
import { ia3 } from "./methods/ia3.ts";
import { lnTuning } from "./methods/ln-tuning.ts";
import { loha } from "./methods/loha.ts";
import { lokr } from "./methods/lokr.ts";
import { lora } from "./methods/lora.ts";
import type { Method } from "./method.ts";

export const methods = { ia3, "ln-tuning": lnTuning, loha, lokr, lora };
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
