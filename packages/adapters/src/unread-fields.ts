/** Fields of an adapter_config.json that nothing here reads. */
import { z } from "zod";

/** Fields of PEFT's configs that say where it comes from and not what it does, and settings of options that are off or that PEFT does not read itself. */
const general = new Set([
  "megatron_core",
  "qalora_group_size",
  "r",
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "peft_type",
  "peft_version",
  "revision",
  "task_type",
]);

/** Those of `written` that `schema` does not know and that say something: they are kept when the adapter is saved, and have no effect. */
export function unreadFields(written: Readonly<Record<string, unknown>>, schema: z.ZodType): string[] {
  const { properties = {} } = z.toJSONSchema(schema, { unrepresentable: "any" });
  const isEmpty = (value: unknown): boolean =>
    value === null || value === false || (typeof value === "object" && Object.keys(value as object).length === 0);
  return Object.entries(written)
    .filter(([name, value]) => !(name in properties) && !general.has(name) && !isEmpty(value))
    .map(([name]) => name);
}
