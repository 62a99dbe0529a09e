/** Reading JSON files at the edge: errors name the file and the field. */
import { existsSync, readFileSync } from "node:fs";
import type { z } from "zod";
import { ConfigError } from "../errors/index.ts";

/** Parses a JSON file with a schema. Throws ConfigError naming the file, and the field that does not fit. */
export function readJson<T extends z.ZodType>(path: string, schema: T): z.output<T> {
  if (!existsSync(path)) throw new ConfigError(`${path}: no such file`);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(`${path}: cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new ConfigError(`${path}: is not valid JSON: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  return parseWith(schema, value, path);
}

/** Parses a value with a schema. Throws ConfigError that begins with `where`. */
export function parseWith<T extends z.ZodType>(schema: T, value: unknown, where: string): z.output<T> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) => `${issue.path.join(".") || "the value"}: ${issue.message}`);
  throw new ConfigError(`${where}: ${issues.join("; ")}`, { cause: result.error });
}
