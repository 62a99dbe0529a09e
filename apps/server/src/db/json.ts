/** JSON columns: parsed when they are read. */
import { DataError } from "@graft/core/errors";
import { z } from "zod";

/** JSON has no word for these three: they stand as text. */
const wildNumbers = ["NaN", "Infinity", "-Infinity"] as const;

/** A number as `toJson` writes it: bit for bit the one that was given. */
export const exactNumber = z.union([z.number(), z.enum(wildNumbers).transform(Number)]);

/** JSON in which every number comes back as it was. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === "number" && !Number.isFinite(part) ? String(part) : part,
  );
}

/** Throws DataError that begins with `where`. */
export function fromJson<S extends z.ZodType>(schema: S, text: string, where: string): z.output<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(`${where}: is not JSON; the database was changed by something else`, { cause });
  }
  return fromParsed(schema, value, where);
}

/** Of JSON that was parsed already. Throws DataError that begins with `where`. */
export function fromParsed<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const field = issue!.path.join(".") || "the value";
  throw new DataError(`${where}: ${field}: ${issue!.message}; the database was changed by something else`);
}
