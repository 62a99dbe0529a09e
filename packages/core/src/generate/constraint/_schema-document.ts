/** A JSON Schema as it was given: its size, its places, and what $ref refers to. */
import { ConfigError } from "../../errors/index.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
export type JsonObject = { readonly [name: string]: Json };

/** A schema at its place: a JSON pointer behind "#". */
export interface Located {
  readonly place: string;
  readonly schema: Json;
}

const MAX_DEPTH = 100;
const MAX_VALUES = 50_000;
const MAX_CHARACTERS = 500_000;

/** Throws ConfigError for a schema that is no JSON, or too large. */
export function checkSize(schema: unknown): asserts schema is Json {
  let [values, characters] = [0, 0];
  const open: [value: unknown, depth: number][] = [[schema, 0]];
  for (let entry = open.pop(); entry; entry = open.pop()) {
    const [value, depth] = entry;
    values++;
    if (typeof value === "string") characters += value.length;
    else if (typeof value === "object" && value !== null) {
      if (depth >= MAX_DEPTH) throw new ConfigError(`schema: is nested more than ${MAX_DEPTH} deep`);
      for (const [name, child] of Object.entries(value)) {
        characters += Array.isArray(value) ? 0 : name.length;
        open.push([child, depth + 1]);
      }
    } else if (typeof value === "number" && !Number.isFinite(value))
      throw new ConfigError("schema: has a number that is too large");
    else if (!["boolean", "number", "object"].includes(typeof value))
      throw new ConfigError(`schema: has a ${typeof value}, which JSON does not have`);
    if (values > MAX_VALUES) throw new ConfigError(`schema: has more than ${MAX_VALUES} values`);
    if (characters > MAX_CHARACTERS) throw new ConfigError(`schema: has more than ${MAX_CHARACTERS} characters`);
  }
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The schema under a keyword. */
export function child({ place, schema }: Located, ...path: readonly (string | number)[]): Located {
  let value = schema;
  let at = place;
  for (const name of path) {
    value = (value as JsonObject)[name]!;
    at += `/${String(name).replaceAll("~", "~0").replaceAll("/", "~1")}`;
  }
  return { place: at, schema: value };
}

/** Follows a $ref into the same document. Throws ConfigError naming the place for any other, and for one to nothing. */
export function resolveReference(root: Json, reference: string, place: string): Located {
  if (reference !== "#" && !reference.startsWith("#/"))
    throw new ConfigError(
      `schema ${place}: $ref ${JSON.stringify(reference)} does not begin with #/: put the schema under $defs`,
    );
  let value: Json | undefined = root;
  let at = "#";
  for (const part of reference.split("/").slice(1)) {
    const name = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
    value =
      typeof value === "object" && value !== null && Object.hasOwn(value, name)
        ? (value as JsonObject)[name]
        : undefined;
    at += `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
  }
  if (value === undefined)
    throw new ConfigError(`schema ${place}: $ref ${JSON.stringify(reference)} refers to nothing`);
  return { place: at, schema: value };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Throws ConfigError for the schema at a place. */
export function fail(place: string, why: string): never {
  throw new ConfigError(`schema ${place}: ${why}`);
}

/** Throw ConfigError for a keyword of another type. */
export function asArray(value: Json, place: string, word: string): readonly Json[] {
  return Array.isArray(value) ? (value as readonly Json[]) : fail(place, `${word} is ${describe(value)}, not a list`);
}

export function asText(value: Json, place: string, word: string): string {
  return typeof value === "string" ? value : fail(place, `${word} is ${describe(value)}, not a text`);
}

export function asCount(value: Json, place: string, word: string): number {
  const isCount = typeof value === "number" && Number.isInteger(value) && value >= 0;
  return isCount ? value : fail(place, `${word} is ${describe(value)}, not a whole number from 0`);
}

export function asNumber(value: Json, place: string, word: string): number {
  const isNumber = typeof value === "number" && Number.isFinite(value);
  return isNumber ? value : fail(place, `${word} is ${describe(value)}, not a number`);
}

/** JSON for an error. */
export function describe(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
