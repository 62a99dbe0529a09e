/** The config of a new adapter from settings that may be meant for several methods, as the flags of a training command are. */
import { ConfigError } from "@graft/core/errors";
import { parseWith } from "@graft/core/io";
import { z } from "zod";
import type { AdapterConfig } from "./adapter.ts";
import type { Method } from "./method.ts";

/**
 * A config with the settings, named as PEFT names the fields, that `method` has a field for; then its trainingDefaults, then its schema's defaults: what is stored is
 * what is used. `unused` names the other settings. Undefined ones are not there. Throws ConfigError beginning with `where`, also where the settings make it another method's.
 */
export function newConfig(
  method: Pick<Method, "name" | "peftType" | "config" | "trainingDefaults" | "matches">,
  settings: Readonly<Record<string, unknown>>,
  where = "adapter config",
): { readonly config: AdapterConfig; readonly unused: readonly string[] } {
  if (!(method.config instanceof z.ZodObject)) throw new Error(`${method.peftType}: its config is no zod object`);
  const fields = method.config.shape;
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  const own = given.filter(([name]) => name in fields);
  const values = { ...method.trainingDefaults, ...Object.fromEntries(own) };
  const parsed = parseWith(method.config, values, where);
  if (method.matches && !method.matches(parsed)) {
    const names = own.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", ");
    throw new ConfigError(`${where}: with ${names} it is not ${method.name} but another ${method.peftType} method`);
  }
  const config = { peft_type: method.peftType, task_type: "CAUSAL_LM", inference_mode: true, ...parsed };
  return { config, unused: given.map(([name]) => name).filter((name) => !(name in fields)) };
}
