/** What one value must be, in one record: what the keywords of schemas come to once references and choices are resolved. */
import type { Bound } from "./_number-range.ts";
import { fail, isObject, type Json, type Located } from "./_schema-document.ts";

export type JsonType = "null" | "boolean" | "number" | "string" | "array" | "object";
export const TYPES: readonly JsonType[] = ["null", "boolean", "number", "string", "array", "object"];

/** Schemas that all hold for one value; none: any value. */
export type Conjunction = readonly Located[];

/** Fields of other types than the value has ask nothing of it. */
export interface Shape {
  readonly place: string;
  readonly types: ReadonlySet<JsonType>;
  /** Types whose keywords were used where no type was given. */
  readonly hints: ReadonlySet<JsonType>;
  readonly isInteger: boolean;
  /** The only values: enum or const. */
  readonly values: readonly Json[] | undefined;
  readonly lower: Bound | undefined;
  readonly upper: Bound | undefined;
  readonly minLength: number;
  readonly maxLength: number;
  readonly pattern: { readonly source: string; readonly place: string } | undefined;
  readonly prefix: readonly Conjunction[];
  /** Items behind the prefix; undefined: not said. */
  readonly items: Conjunction | undefined;
  readonly minItems: number;
  readonly maxItems: number;
  readonly properties: ReadonlyMap<string, Conjunction>;
  readonly required: ReadonlySet<string>;
  /** Properties that `properties` does not name; undefined: not said. */
  readonly rest: Conjunction | undefined;
  readonly names: Conjunction | undefined;
  readonly minProperties: number;
  readonly maxProperties: number;
}

/** Any value. */
export const ANY: Shape = {
  place: "#",
  types: new Set(TYPES),
  hints: new Set(),
  isInteger: false,
  values: undefined,
  lower: undefined,
  upper: undefined,
  minLength: 0,
  maxLength: Number.POSITIVE_INFINITY,
  pattern: undefined,
  prefix: [],
  items: undefined,
  minItems: 0,
  maxItems: Number.POSITIVE_INFINITY,
  properties: new Map(),
  required: new Set(),
  rest: undefined,
  names: undefined,
  minProperties: 0,
  maxProperties: Number.POSITIVE_INFINITY,
};

/** Only values of its types, and only types of its values; undefined where none are left. */
export function settled(shape: Shape): Shape | undefined {
  const values = shape.values?.filter(
    (value) =>
      shape.types.has(typeOf(value)) && (!shape.isInteger || typeof value !== "number" || Number.isInteger(value)),
  );
  const types = values ? new Set(values.map(typeOf)) : shape.types;
  return types.size === 0 ? undefined : { ...shape, types, values };
}

function typeOf(value: Json): JsonType {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : (typeof value as JsonType);
}

/** Types that are written: without `type`, those that the other keywords speak of. It is narrower than the schema. */
export function writtenTypes({ types, hints, values }: Shape): ReadonlySet<JsonType> {
  return types.size === TYPES.length && hints.size > 0 && !values ? hints : types;
}

/** The pattern of both. Throws ConfigError where there are two. */
export function onePattern(a: Shape["pattern"], b: Shape["pattern"], place: string): Shape["pattern"] {
  if (a && b && a.source !== b.source)
    fail(place, "has two patterns or formats for the same text, which cannot be kept together");
  return a ?? b;
}

/** Both shapes at once; undefined where nothing is both. */
export function meet(a: Shape, b: Shape): Shape | undefined {
  const { place } = b;
  const types = new Set([...a.types].filter((type) => b.types.has(type)));
  const names = new Set([...a.properties.keys(), ...b.properties.keys()]);
  const length = Math.max(a.prefix.length, b.prefix.length);
  return settled({
    place,
    types,
    hints: new Set([...a.hints, ...b.hints]),
    isInteger: a.isInteger || b.isInteger,
    values: bothValues(a.values, b.values),
    lower: tighter(a.lower, b.lower, 1),
    upper: tighter(a.upper, b.upper, -1),
    minLength: Math.max(a.minLength, b.minLength),
    maxLength: Math.min(a.maxLength, b.maxLength),
    pattern: onePattern(a.pattern, b.pattern, place),
    prefix: Array.from({ length }, (_, i) => both(a.prefix[i] ?? a.items, b.prefix[i] ?? b.items) ?? []),
    items: both(a.items, b.items),
    minItems: Math.max(a.minItems, b.minItems),
    maxItems: Math.min(a.maxItems, b.maxItems),
    // additionalProperties speaks of what the properties beside it do not name.
    properties: new Map(
      [...names].map((name) => [name, both(propertyOf(a, name), propertyOf(b, name)) ?? []] as const),
    ),
    required: new Set([...a.required, ...b.required]),
    rest: both(a.rest, b.rest),
    names: both(a.names, b.names),
    minProperties: Math.max(a.minProperties, b.minProperties),
    maxProperties: Math.min(a.maxProperties, b.maxProperties),
  });
}

function both(a: Conjunction | undefined, b: Conjunction | undefined): Conjunction | undefined {
  if (!a || !b) return a ?? b;
  return [...new Map([...a, ...b].map((located) => [located.place, located])).values()];
}

/** The values that are in both lists. */
export function bothValues(
  a: readonly Json[] | undefined,
  b: readonly Json[] | undefined,
): readonly Json[] | undefined {
  if (!a || !b) return a ?? b;
  const texts = new Set(b.map(canonical));
  return a.filter((value) => texts.has(canonical(value)));
}

/** The bound that leaves less: sign 1 for lower bounds, -1 for upper ones. */
export function tighter(a: Bound | undefined, b: Bound | undefined, sign: 1 | -1): Bound | undefined {
  if (!a || !b) return a ?? b;
  if (a.value === b.value) return a.isOpen ? a : b;
  return (a.value - b.value) * sign > 0 ? a : b;
}

/** Equal for equal values, whatever the order of their properties. */
export function canonical(value: Json): string {
  return JSON.stringify(value, (_, inner: Json) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

/** What an object of this shape says of a property. */
export function propertyOf(shape: Shape, name: string): Conjunction | undefined {
  return shape.properties.get(name) ?? shape.rest;
}
