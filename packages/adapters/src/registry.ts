/** Every adapter method. */
import { ConfigError, suggest, UnknownName } from "@graft/core/errors";
import { parseWith } from "@graft/core/io";
import { adalora } from "./methods/adalora.ts";
import { adapterp } from "./methods/adapterp.ts";
import { average } from "./methods/average.ts";
import { boft } from "./methods/boft.ts";
import { compacter } from "./methods/compacter.ts";
import { fusedLora } from "./methods/fused-lora.ts";
import { fusion } from "./methods/fusion.ts";
import { heParallel } from "./methods/he-parallel.ts";
import { houlsby } from "./methods/houlsby.ts";
import { ia3 } from "./methods/ia3.ts";
import { lnTuning } from "./methods/ln-tuning.ts";
import { loha } from "./methods/loha.ts";
import { lokr } from "./methods/lokr.ts";
import { lora } from "./methods/lora.ts";
import { oft } from "./methods/oft.ts";
import { pTuning } from "./methods/p-tuning.ts";
import { parallel } from "./methods/parallel.ts";
import { pfeiffer } from "./methods/pfeiffer.ts";
import { prefixTuning } from "./methods/prefix-tuning.ts";
import { promptTuning } from "./methods/prompt-tuning.ts";
import { series } from "./methods/series.ts";
import { stack } from "./methods/stack.ts";
import { vera } from "./methods/vera.ts";
import type { Method } from "./method.ts";

export const methods = {
  adalora,
  adapterp,
  average,
  boft,
  compacter,
  "fused-lora": fusedLora,
  fusion,
  "he-parallel": heParallel,
  houlsby,
  ia3,
  "ln-tuning": lnTuning,
  loha,
  lokr,
  lora,
  oft,
  "p-tuning": pTuning,
  parallel,
  pfeiffer,
  "prefix-tuning": prefixTuning,
  "prompt-tuning": promptTuning,
  series,
  stack,
  vera,
};
export type MethodName = keyof typeof methods;

const all: readonly Method[] = Object.values(methods) as unknown as Method[];

/**
 * Methods by the names that a training command may call them: their own, or the peft_type that several share in small letters, as finetune.py's "bottleneck":
 * then the settings alone say which of them it is.
 */
export const methodsByName: ReadonlyMap<string, Method> = new Map([
  ...all
    .filter((method) => method.matches)
    .map(({ trainingDefaults: _its, matches: _own, ...any }) => [any.peftType.toLowerCase(), any] as const),
  ...all.map((method) => [method.name, method] as const),
]);

/** A config's method and the config with its defaults: by `peft_type`, and by what else the config says where methods share one. Throws UnknownName or ConfigError. */
export function methodFor(
  config: { readonly peft_type: string },
  where: string,
): { readonly method: Method; readonly config: unknown } {
  const candidates = all.filter((m) => m.peftType === config.peft_type);
  if (candidates.length === 0) {
    const known = new Set(all.map((m) => m.peftType));
    throw new UnknownName(`${where}: unknown peft_type "${config.peft_type}"${suggest(config.peft_type, known)}`);
  }
  for (const method of candidates) {
    const parsed = parseWith(method.config, config, where);
    if (!method.matches || method.matches(parsed)) return { method, config: parsed };
  }
  throw new ConfigError(
    `${where}: this ${config.peft_type} config is none of ${candidates.map((m) => m.name).join(", ")}`,
  );
}
