/** The keywords of JSON Schema 2020-12 that a grammar can keep, and what each asks. */
import {
  asArray,
  asNumber,
  asCount,
  asText,
  child,
  describe,
  fail,
  isObject,
  type Json,
  type JsonObject,
  type Located,
} from "./_schema-document.ts";
import { formats } from "./_formats.ts";
import { ANY, bothValues, type JsonType, onePattern, settled, type Shape, tighter, TYPES } from "./_shape.ts";

/** What one schema says by itself; undefined where nothing can be it. */
export function ownShape(located: Located): Shape | undefined {
  const { place } = located;
  let shape: Shape = { ...ANY, place };
  for (const [word, value] of Object.entries(located.schema as JsonObject)) {
    if (IGNORED.has(word) || word.startsWith("x-")) continue;
    const keyword = Object.hasOwn(keywords, word) ? keywords[word] : undefined;
    if (!keyword) fail(place, `${JSON.stringify(word)} cannot be kept by constrained decoding: leave it out`);
    const change = keyword.read(value, located);
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

/** Keywords that ask nothing of a value, or that are followed elsewhere. */
const IGNORED = new Set([
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
  "deprecated",
  "readOnly",
  "writeOnly",
  "discriminator",
  "contentMediaType",
  "contentEncoding",
  "contentSchema",
  "$ref",
  "allOf",
  "anyOf",
  "oneOf",
]);

type Change = Partial<Shape>;
interface Keyword {
  readonly type?: JsonType;
  readonly read: (value: Json, located: Located) => Change;
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
    read(value, { place }) {
      const name = asText(value, place, "format");
      if (!Object.hasOwn(formats, name))
        fail(
          place,
          `format ${JSON.stringify(name)} cannot be kept: leave it out, or use one of ${Object.keys(formats).join(", ")}`,
        );
      return { pattern: { source: formats[name]!, place } };
    },
  },
  minimum: {
    type: "number",
    read: (value, { place }) => ({ lower: { value: asNumber(value, place, "minimum"), isOpen: false } }),
  },
  maximum: {
    type: "number",
    read: (value, { place }) => ({ upper: { value: asNumber(value, place, "maximum"), isOpen: false } }),
  },
  exclusiveMinimum: {
    type: "number",
    read: (value, { place }) => ({ lower: { value: asNumber(value, place, "exclusiveMinimum"), isOpen: true } }),
  },
  exclusiveMaximum: {
    type: "number",
    read: (value, { place }) => ({ upper: { value: asNumber(value, place, "exclusiveMaximum"), isOpen: true } }),
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
