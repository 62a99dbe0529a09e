/** The adapter of a job: a method's name and its settings, or the fields of an adapter_config.json. */
import { ConfigError, suggest } from "@graft/core/errors";
import { z } from "zod";
import type { AdapterConfig } from "../adapter.ts";
import type { Method } from "../method.ts";
import { newConfig } from "../new-config.ts";
import { methods, methodsByName } from "../registry.ts";

/** Fields of an adapter_config.json that a job decides itself. */
const ownFields = new Set([
  "name",
  "peft_type",
  "task_type",
  "inference_mode",
  "base_model_name_or_path",
  "peft_version",
  "revision",
  "auto_mapping",
]);

export interface JobAdapterSetting {
  /** Folder of the base. */
  readonly modelPath: string;
  /** Optimizer steps of the job. */
  readonly totalSteps: number;
}

/**
 * The config with its defaults. A config with a total_step gets the job's; texts are tokenised as the base does. Throws ConfigError, beginning with
 * "adapter", for an unknown method or setting, with near names.
 */
export function jobAdapter(
  asked: { readonly name?: string | undefined; readonly peft_type?: string | undefined } & Readonly<
    Record<string, unknown>
  >,
  { modelPath, totalSteps }: JobAdapterSetting,
): AdapterConfig {
  const method = methodOf(asked);
  const fields = method.config instanceof z.ZodObject ? method.config.shape : {};
  const settings = Object.fromEntries(Object.entries(asked).filter(([name]) => !ownFields.has(name)));
  refuseTokenizers(settings, "adapter");
  if ("total_step" in fields) settings.total_step ??= totalSteps;
  if ("tokenizer_name_or_path" in fields && settings.prompt_tuning_init === "TEXT")
    settings.tokenizer_name_or_path = modelPath;
  const { config, unused } = newConfig(method, settings, "adapter");
  const unknown = unused.find((name) => !saysNothing(settings[name]));
  if (unknown !== undefined)
    throw new ConfigError(
      `adapter.${unknown}: is no setting of ${method.name}${suggest(unknown, Object.keys(fields))}`,
    );
  return { ...config, base_model_name_or_path: modelPath };
}

function methodOf({
  name,
  peft_type,
}: {
  readonly name?: string | undefined;
  readonly peft_type?: string | undefined;
}): Method {
  if (name === undefined && peft_type !== undefined) return methodOfType(peft_type);
  const method = methodsByName.get(name ?? "lora");
  if (!method) throw new ConfigError(`adapter.name: unknown method "${name}"${suggest(name!, methodsByName.keys())}`);
  if (peft_type !== undefined && peft_type !== method.peftType)
    throw new ConfigError(`adapter.peft_type: ${method.name} is ${method.peftType}, got "${peft_type}"`);
  return method;
}

/** The method of that peft_type; where several share it, the one that it names in small letters, which leaves the choice to the settings. */
function methodOfType(peftType: string): Method {
  const all = [...methodsByName.values()].filter((method) => method.peftType === peftType);
  const named = methodsByName.get(peftType.toLowerCase());
  const found = named !== undefined && all.includes(named) ? named : all[0];
  if (found) return found;
  const known = new Set(Object.values(methods).map((method) => method.peftType));
  throw new ConfigError(`adapter.peft_type: unknown type "${peftType}"${suggest(peftType, known)}`);
}

/** A job comes from somebody who may name no path of this machine, in a part of a composition neither. */
function refuseTokenizers(value: unknown, where: string): void {
  if (typeof value !== "object" || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    const place = `${where}.${name}`;
    if (name === "tokenizer_name_or_path" && inner !== null && inner !== undefined)
      throw new ConfigError(`${place}: a job's tokenizer is its base's; leave it out`);
    refuseTokenizers(inner, place);
  }
}

/** PEFT writes settings of what is off: null, false, {} and []. */
function saysNothing(value: unknown): boolean {
  return value === null || value === false || (typeof value === "object" && Object.keys(value).length === 0);
}
