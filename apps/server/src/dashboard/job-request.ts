/** A job as the API takes it, from the fields of the form. */
import { numberOf, textOf } from "./form-fields.ts";

/** Number fields of the form, in the API's own names. */
export const numberFields = [
  "n_epochs",
  "learning_rate",
  "batch_size",
  "micro_batch_size",
  "max_steps",
  "cutoff_len",
  "warmup_steps",
  "weight_decay",
  "eval_steps",
  "save_steps",
] as const;

/** Empty fields are left to the server. Throws an Error in words for settings that are no JSON object. */
export function jobRequestOf(
  fields: FormData,
  files: { readonly model: string; readonly training: string; readonly validation: string | undefined },
): object {
  const hyperparameters: Record<string, unknown> = {};
  for (const name of numberFields) {
    const value = numberOf(fields, name);
    if (value !== undefined) hyperparameters[name] = value;
  }
  const scheduler = textOf(fields, "lr_scheduler");
  if (scheduler !== "") hyperparameters["lr_scheduler"] = scheduler;
  if (fields.get("train_on_inputs") !== null) hyperparameters["train_on_inputs"] = true;
  const adapter: Record<string, unknown> = {
    name: textOf(fields, "method"),
    ...settingsOf(textOf(fields, "settings")),
  };
  for (const [key, value] of fields) {
    const size = /^size\.(.+)$/.exec(key)?.[1];
    if (size !== undefined && typeof value === "string" && value.trim() !== "") adapter[size] = Number(value);
  }
  const suffix = textOf(fields, "suffix");
  const seed = numberOf(fields, "seed");
  return {
    model: files.model,
    training_file: files.training,
    ...(files.validation === undefined ? {} : { validation_file: files.validation }),
    ...(suffix === "" ? {} : { suffix }),
    ...(seed === undefined ? {} : { seed }),
    method: { type: "supervised", supervised: { hyperparameters, adapter } },
  };
}

function settingsOf(text: string): object {
  if (text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`Further adapter settings are not JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error('Further adapter settings must be an object, like {"target_modules": ["q_proj"]}');
  return value;
}
