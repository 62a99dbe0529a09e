/** `--set KEY=VALUE` of `graft jobs create`: settings of training and fields of an adapter's config, under the API's names or those of `graft train`. */
import { methodsByName } from "@graft/adapters";
import { hyperparametersSchema } from "@graft/adapters/train";
import { suggest } from "@graft/core/errors";
import { z } from "zod";
import { UsageError } from "../command.ts";

export interface JobSettings {
  readonly hyperparameters: Readonly<Record<string, unknown>>;
  readonly adapter: Readonly<Record<string, unknown>>;
}

const hyperparameters = new Set(Object.keys(hyperparametersSchema.shape));

/** Flags of `graft train` that the API names otherwise. */
const trainNames: Readonly<Record<string, string>> = {
  num_epochs: "n_epochs",
  lr_scheduler_type: "lr_scheduler",
  eval_step: "eval_steps",
  save_step: "save_steps",
  use_gradient_checkpointing: "gradient_checkpointing",
  lora_r: "r",
  lora_target_modules: "target_modules",
  delta_t: "deltaT",
};

/** `method`: the name of an adapter method. Throws UsageError for an entry of another form, and an unknown key, with near ones. */
export function jobSettings(method: string, entries: readonly string[]): JobSettings {
  const { config } = methodsByName.get(method)!;
  const fields = config instanceof z.ZodObject ? Object.keys(config.shape) : undefined;
  const settings: { hyperparameters: Record<string, unknown>; adapter: Record<string, unknown> } = {
    hyperparameters: {},
    adapter: { name: method },
  };
  for (const entry of joined(entries)) {
    const at = entry.indexOf("=");
    if (at < 1) throw new UsageError(`--set is KEY=VALUE, not "${entry}"`);
    const given = entry.slice(0, at).trim();
    const name = nameOf(given, fields);
    const group = hyperparameters.has(name) ? settings.hyperparameters : settings.adapter;
    if (group === settings.adapter && fields && !fields.includes(name))
      throw new UsageError(
        `--set: ${method} has no setting "${given}"${suggest(given, [...hyperparameters, ...fields])}`,
      );
    if (Object.hasOwn(group, name)) throw new UsageError(`--set: ${given} is given twice`);
    group[name] = valueOf(entry.slice(at + 1).trim());
  }
  return settings;
}

/** The command line splits lists at commas: what has no "=" belongs to the value before it. */
function joined(entries: readonly string[]): string[] {
  const whole: string[] = [];
  for (const entry of entries) {
    if (whole.length > 0 && !entry.includes("=")) whole.push(`${whole.pop()!},${entry}`);
    else whole.push(entry);
  }
  return whole;
}

function nameOf(given: string, fields: readonly string[] | undefined): string {
  if (fields?.includes(given)) return given;
  const plain = given.replaceAll("-", "_").replace(/[a-z][A-Z]/g, ([a, b]) => `${a}_${b!.toLowerCase()}`);
  return trainNames[plain] ?? plain;
}

/** JSON, Python's True, False and None, a list of words between commas, or a text. */
function valueOf(text: string): unknown {
  const python: Readonly<Record<string, unknown>> = { True: true, False: false, None: null };
  if (Object.hasOwn(python, text)) return python[text];
  for (const candidate of [text, text.replaceAll("'", '"')]) {
    try {
      return JSON.parse(candidate) as unknown;
    } catch {
      continue;
    }
  }
  return text.includes(",") ? text.split(",").map((word) => word.trim()) : text;
}
