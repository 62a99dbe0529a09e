/** What a schema asks of a value, with references, allOf, anyOf and oneOf resolved: a list of shapes, one of which the value has. */
import { ConfigError } from "../../errors/index.ts";
import type { Bound } from "./_number-range.ts";
import { child, isObject, type Json, type JsonObject, type Located, resolveReference } from "./_schema-document.ts";

export type JsonType = "null" | "boolean" | "number" | "string" | "array" | "object";
export const TYPES: readonly JsonType[] = ["null", "boolean", "number", "string", "array", "object"];

/** Schemas that all hold for one value; none: any value. */
export type Conjunction = readonly Located[];

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

const ANY: Shape = {
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

/** Choices that a schema may come to where anyOf and allOf are multiplied out. */
const MAX_SHAPES = 1000;
/** Schemas and properties looked at: about a second. */
const MAX_STEPS = 1_000_000;
/** References and allOf, anyOf, oneOf within each other without a property or an item between them. */
const MAX_TRAIL = 200;

/** The shapes of a conjunction, for the schemas of one document. */
export function shapeReader(root: Json, formats: Readonly<Record<string, string>>): (given: Conjunction) => Shape[] {
  let steps = 0;
  const spend = (work: number): void => {
    steps += work;
    if (steps > MAX_STEPS) fail("#", "is too large once its references and choices are followed");
  };
  const read = (located: Located, bases: readonly Shape[], trail: readonly string[]): Shape[] => {
    const { place, schema } = located;
    spend(1);
    if (schema === true) return [...bases];
    if (schema === false) return [];
    if (!isObject(schema)) fail(place, `is ${describe(schema)}, not a schema`);
    if (trail.includes(place)) fail(place, "refers to itself without anything between");
    if (trail.length >= MAX_TRAIL) fail(place, `stands behind ${MAX_TRAIL} references`);
    const inner = [...trail, place];
    const own = ownShape(located, formats);
    let shapes = bases.flatMap((base) => {
      spend(sizeOf(base) + (own ? sizeOf(own) : 0));
      return (own && meet(base, own)) ?? [];
    });
    const refer = schema.$ref;
    if (refer !== undefined) {
      if (typeof refer !== "string") fail(place, "$ref is no text");
      shapes = read(resolveReference(root, refer, place), shapes, inner);
    }
    for (const part of branches(located, "allOf")) shapes = read(part, shapes, inner);
    for (const word of ["anyOf", "oneOf"] as const) {
      if (schema[word] === undefined) continue;
      const parts = branches(located, word);
      if (parts.length > MAX_SHAPES) fail(place, `${word} has more than ${MAX_SHAPES} branches`);
      const choices = parts.map((part) => read(part, shapes, inner));
      if (word === "oneOf") checkDisjoint(choices, place);
      shapes = choices.flat();
    }
    if (shapes.length > MAX_SHAPES) fail(place, `comes to more than ${MAX_SHAPES} choices`);
    return shapes;
  };
  const checkDisjoint = (choices: readonly (readonly Shape[])[], place: string): void => {
    for (const [i, one] of choices.entries())
      for (const [j, other] of choices.entries())
        if (i < j && one.some((a) => other.some((b) => !areDisjoint(a, b, 2))))
          fail(
            place,
            `branches ${i} and ${j} of oneOf may both hold: tell them apart by type or by a required const, or use anyOf`,
          );
  };
  const areDisjoint = (a: Shape, b: Shape, depth: number): boolean => {
    spend(1 + (a.values?.length ?? 0) + (b.values?.length ?? 0));
    if (a.values && b.values) {
      const texts = new Set(a.values.map(canonical));
      return b.values.every((value) => !texts.has(canonical(value)));
    }
    // A value that is written for one of them must not be the other, written or not.
    const [writtenA, writtenB] = [writtenTypes(a), writtenTypes(b)];
    const common = TYPES.filter(
      (type) => (writtenA.has(type) && b.types.has(type)) || (a.types.has(type) && writtenB.has(type)),
    );
    return common.every((type) => {
      if (type === "number") return isBelow(a, b) || isBelow(b, a);
      if (type !== "object" || a.values || b.values || depth === 0) return false;
      return [...new Set([...a.required, ...b.required])].some((name) => {
        const [x, y] = [propertyOf(a, name), propertyOf(b, name)];
        if (x === undefined || y === undefined) return false;
        const [xs, ys] = [readAll(x), readAll(y)];
        return xs.every((s) => ys.every((t) => areDisjoint(s, t, depth - 1)));
      });
    });
  };
  const readAll = (given: Conjunction): Shape[] => {
    let shapes: Shape[] = [{ ...ANY, place: given[0]?.place ?? "#" }];
    for (const located of given) shapes = read(located, shapes, []);
    return shapes;
  };
  return readAll;
}

function sizeOf({ properties, prefix, required, values }: Shape): number {
  return 1 + properties.size + prefix.length + required.size + (values?.length ?? 0);
}

/** What an object of this shape says of a property. */
function propertyOf(shape: Shape, name: string): Conjunction | undefined {
  return shape.properties.get(name) ?? shape.rest;
}

function isBelow({ upper }: Shape, { lower }: Shape): boolean {
  if (!upper || !lower) return false;
  return upper.value < lower.value || (upper.value === lower.value && (upper.isOpen || lower.isOpen));
}

export function fail(place: string, why: string): never {
  throw new ConfigError(`schema ${place}: ${why}`);
}

const ANNOTATIONS = new Set([
  ...[
    "$schema",
    "$id",
    "id",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "example",
    "examples",
  ],
  ...["deprecated", "readOnly", "writeOnly", "discriminator", "contentMediaType", "contentEncoding", "contentSchema"],
]);
const ELSEWHERE = new Set(["$ref", "allOf", "anyOf", "oneOf"]);

type Change = Partial<Shape>;
interface Keyword {
  readonly type?: JsonType;
  readonly read: (value: Json, located: Located, formats: Readonly<Record<string, string>>) => Change;
}

const keywords: Readonly<Record<string, Keyword>> = {
  type: { read: (value, { place }) => readTypes(value, place) },
  enum: { read: (value, { place }) => ({ values: asArray(value, place, "enum") }) },
  const: { read: (value) => ({ values: [value] }) },
  minLength: { type: "string", read: (value, { place }) => ({ minLength: asCount(value, place, "minLength") }) },
  maxLength: { type: "string", read: (value, { place }) => ({ maxLength: asCount(value, place, "maxLength") }) },
  pattern: {
    type: "string",
    read: (value, { place }) => ({ pattern: { source: asText(value, place, "pattern"), place } }),
  },
  format: {
    type: "string",
    read(value, { place }, formats) {
      const name = asText(value, place, "format");
      if (!Object.hasOwn(formats, name))
        fail(
          place,
          `format ${JSON.stringify(name)} cannot be kept: leave it out, or use one of ${Object.keys(formats).join(", ")}`,
        );
      return { pattern: { source: formats[name]!, place } };
    },
  },
  minimum: { type: "number", read: (value, { place }) => ({ lower: asBound(value, place, "minimum", false) }) },
  maximum: { type: "number", read: (value, { place }) => ({ upper: asBound(value, place, "maximum", false) }) },
  exclusiveMinimum: {
    type: "number",
    read: (value, { place }) => ({ lower: asBound(value, place, "exclusiveMinimum", true) }),
  },
  exclusiveMaximum: {
    type: "number",
    read: (value, { place }) => ({ upper: asBound(value, place, "exclusiveMaximum", true) }),
  },
  multipleOf: {
    type: "number",
    read: (value, { place }) =>
      value === 1 ? { isInteger: true } : fail(place, "multipleOf cannot be kept except for 1: leave it out"),
  },
  prefixItems: {
    type: "array",
    read: (value, located) => ({
      prefix: asArray(value, located.place, "prefixItems").map((_, i) => [child(located, "prefixItems", i)]),
    }),
  },
  items: {
    type: "array",
    read(value, located) {
      if (Array.isArray(value)) fail(located.place, "items is a list: use prefixItems");
      return { items: [child(located, "items")] };
    },
  },
  minItems: { type: "array", read: (value, { place }) => ({ minItems: asCount(value, place, "minItems") }) },
  maxItems: { type: "array", read: (value, { place }) => ({ maxItems: asCount(value, place, "maxItems") }) },
  uniqueItems: {
    type: "array",
    read: (value, { place }) => (value === false ? {} : fail(place, "uniqueItems cannot be kept: leave it out")),
  },
  properties: {
    type: "object",
    read(value, located) {
      if (!isObject(value)) fail(located.place, `properties is ${describe(value)}, not an object`);
      return {
        properties: new Map(Object.keys(value).map((name) => [name, [child(located, "properties", name)]] as const)),
      };
    },
  },
  required: {
    type: "object",
    read: (value, { place }) => ({
      required: new Set(asArray(value, place, "required").map((name) => asText(name, place, "required"))),
    }),
  },
  additionalProperties: { type: "object", read: (_, located) => ({ rest: [child(located, "additionalProperties")] }) },
  propertyNames: { type: "object", read: (_, located) => ({ names: [child(located, "propertyNames")] }) },
  minProperties: {
    type: "object",
    read: (value, { place }) => ({ minProperties: asCount(value, place, "minProperties") }),
  },
  maxProperties: {
    type: "object",
    read: (value, { place }) => ({ maxProperties: asCount(value, place, "maxProperties") }),
  },
};

/** What one schema says by itself; undefined where nothing can be it. */
function ownShape(located: Located, formats: Readonly<Record<string, string>>): Shape | undefined {
  const { place } = located;
  let shape: Shape = { ...ANY, place };
  for (const [word, value] of Object.entries(located.schema as JsonObject)) {
    if (ANNOTATIONS.has(word) || ELSEWHERE.has(word) || word.startsWith("x-")) continue;
    const keyword = Object.hasOwn(keywords, word) ? keywords[word] : undefined;
    if (!keyword) fail(place, `${JSON.stringify(word)} cannot be kept by constrained decoding: leave it out`);
    const change = keyword.read(value, located, formats);
    shape = {
      ...shape,
      ...change,
      hints: new Set([...shape.hints, ...(keyword.type ? [keyword.type] : [])]),
      isInteger: shape.isInteger || (change.isInteger ?? false),
      values: bothValues(shape.values, change.values),
      lower: tighter(shape.lower, change.lower, 1),
      upper: tighter(shape.upper, change.upper, -1),
      pattern: onePattern(shape.pattern, change.pattern, place),
    };
  }
  return settled(shape);
}

/** Only values of its types, and only types of its values; undefined where none are left. */
function settled(shape: Shape): Shape | undefined {
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

function onePattern(a: Shape["pattern"], b: Shape["pattern"], place: string): Shape["pattern"] {
  if (a && b && a.source !== b.source)
    fail(place, "has two patterns or formats for the same text, which cannot be kept together");
  return a ?? b;
}

/** Both shapes at once; undefined where nothing is both. */
function meet(a: Shape, b: Shape): Shape | undefined {
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

function bothValues(a: readonly Json[] | undefined, b: readonly Json[] | undefined): readonly Json[] | undefined {
  if (!a || !b) return a ?? b;
  const texts = new Set(b.map(canonical));
  return a.filter((value) => texts.has(canonical(value)));
}

function tighter(a: Bound | undefined, b: Bound | undefined, sign: 1 | -1): Bound | undefined {
  if (!a || !b) return a ?? b;
  if (a.value === b.value) return a.isOpen ? a : b;
  return (a.value - b.value) * sign > 0 ? a : b;
}

/** Equal for equal values, whatever the order of their properties. */
function canonical(value: Json): string {
  return JSON.stringify(value, (_, inner: Json) =>
    isObject(inner) ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1))) : inner,
  );
}

function readTypes(value: Json, place: string): Change {
  const given = Array.isArray(value) ? (value as readonly Json[]) : [value];
  const bad = given.find((type) => type !== "integer" && !TYPES.includes(type as JsonType));
  if (bad !== undefined || given.length === 0)
    fail(place, `type is ${describe(bad ?? value)}: use ${TYPES.join(", ")} or integer`);
  return {
    types: new Set(given.map((type) => (type === "integer" ? "number" : (type as JsonType)))),
    isInteger: given.includes("integer") && !given.includes("number"),
  };
}

function branches(located: Located, word: "allOf" | "anyOf" | "oneOf"): Located[] {
  const value = (located.schema as JsonObject)[word];
  if (value === undefined) return [];
  const list = asArray(value, located.place, word);
  if (list.length === 0) fail(located.place, `${word} is empty`);
  return list.map((_, i) => child(located, word, i));
}

function asArray(value: Json, place: string, word: string): readonly Json[] {
  return Array.isArray(value) ? (value as readonly Json[]) : fail(place, `${word} is ${describe(value)}, not a list`);
}

function asText(value: Json, place: string, word: string): string {
  return typeof value === "string" ? value : fail(place, `${word} is ${describe(value)}, not a text`);
}

function asCount(value: Json, place: string, word: string): number {
  const isCount = typeof value === "number" && Number.isInteger(value) && value >= 0;
  return isCount ? value : fail(place, `${word} is ${describe(value)}, not a whole number from 0`);
}

function asBound(value: Json, place: string, word: string, isOpen: boolean): Bound {
  const isNumber = typeof value === "number" && Number.isFinite(value);
  return isNumber ? { value, isOpen } : fail(place, `${word} is ${describe(value)}, not a number`);
}

function describe(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
