/** Fields of a form by name. */

/** A text field without the spaces around it; "" if it is empty. */
export function textOf(fields: FormData, name: string): string {
  const value = fields.get(name);
  return typeof value === "string" ? value.trim() : "";
}

/** A number field; undefined if it is empty. */
export function numberOf(fields: FormData, name: string): number | undefined {
  const text = textOf(fields, name);
  return text === "" ? undefined : Number(text);
}

/** A file field; undefined if none was chosen. */
export function fileOf(fields: FormData, name: string): File | undefined {
  const value = fields.get(name);
  return value instanceof File && value.size > 0 ? value : undefined;
}
