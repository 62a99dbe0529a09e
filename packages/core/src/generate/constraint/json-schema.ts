/** Grammars of the JSON texts that a JSON Schema (2020-12, without what no grammar can keep) allows. */
import { ConfigError } from "../../errors/index.ts";
import { alt, EMPTY, literal, NEVER, type Node, oneOfTexts, repeat, rule, type Rule, seq } from "./_grammar.ts";
import * as json from "./_json-text.ts";
import { numberRange } from "./_number-range.ts";
import { patternGrammar } from "./_pattern.ts";
import { checkSize, fail } from "./_schema-document.ts";
import { type Conjunction, type JsonType, type Shape, writtenTypes } from "./_shape.ts";
import { shapeReader } from "./_shape-reader.ts";

export type { Node } from "./_grammar.ts";
export { checkSize } from "./_schema-document.ts";

/** A JSON object with whatever is in it. */
export const anyObject: Node = json.anyObject;

/**
 * Texts that parse as JSON and are valid under the schema. Properties come in the schema's order; those that it does not name come only where additionalProperties is
 * given, or where it names none. Throws ConfigError naming the place of what cannot be kept, and for a schema that no finite value fits or that is too large.
 */
export function schemaGrammar(schema: unknown): Node {
  checkSize(schema);
  const read = shapeReader(schema);
  const root: Conjunction = [{ place: "#", schema }];
  const entries = new Map<string, Entry>();
  const open: Conjunction[] = [];
  const entryOf = (given: Conjunction): Entry => {
    const key = keyOf(given);
    let entry = entries.get(key);
    if (!entry) {
      if (entries.size >= MAX_RULES) fail("#", `comes to more than ${MAX_RULES} parts`);
      entries.set(key, (entry = { rule: rule(), shapes: [], isPossible: false }));
      open.push(given);
    }
    return entry;
  };
  // First what every part may be, then which parts have finite texts at all, and last the grammar of those that have.
  entryOf(root);
  for (let given = open.pop(); given; given = open.pop()) {
    const entry = entryOf(given);
    entry.shapes = read(given).map((shape) => ({ shape, scalars: scalarsOf(shape) }));
    for (const { shape } of entry.shapes) for (const child of childrenOf(shape)) entryOf(child);
  }
  const isPossible = (given: Conjunction): boolean => given.length === 0 || entryOf(given).isPossible;
  const all = [...entries.values()].toReversed();
  for (let isSettled = false; !isSettled;) {
    isSettled = true;
    for (const entry of all) {
      if (entry.isPossible) continue;
      entry.isPossible = entry.shapes.some(
        ({ shape, scalars }) => scalars !== NEVER || canBeObject(shape, isPossible) || canBeArray(shape, isPossible),
      );
      if (entry.isPossible) isSettled = false;
    }
  }
  if (!isPossible(root)) throw new ConfigError("schema #: no finite value fits it");
  const nodeOf = (given: Conjunction): Node => {
    if (given.length === 0) return json.anyValue;
    return isPossible(given) ? entryOf(given).rule : NEVER;
  };
  for (const { rule: own, shapes, isPossible: isUsed } of all) {
    if (!isUsed) continue;
    own.body = alt(
      ...shapes.flatMap(({ shape, scalars }) => [
        scalars,
        canBeObject(shape, isPossible) ? objectOf(shape, nodeOf, read) : NEVER,
        canBeArray(shape, isPossible) ? arrayOf(shape, nodeOf) : NEVER,
      ]),
    );
  }
  return entryOf(root).rule;
}

/** Parts of a schema: each is a rule. */
const MAX_RULES = 20_000;
const MAX_NAME = 500;

interface Entry {
  readonly rule: Rule;
  shapes: readonly { readonly shape: Shape; readonly scalars: Node }[];
  isPossible: boolean;
}

type Read = (given: Conjunction) => Shape[];

function keyOf(given: Conjunction): string {
  return given
    .map(({ place }) => place)
    .toSorted()
    .join("\n");
}

function writes(shape: Shape, type: JsonType): boolean {
  return shape.values === undefined && writtenTypes(shape).has(type);
}

/** The values of a shape that have no parts, and those that it lists. */
function scalarsOf(shape: Shape): Node {
  if (shape.values) return listed(shape);
  return alt(
    writes(shape, "string") ? json.quoted(stringContent(shape)) : NEVER,
    writes(shape, "number") ? numberRange(shape.lower, shape.upper, shape.isInteger) : NEVER,
    writes(shape, "boolean") ? json.anyBoolean : NEVER,
    writes(shape, "null") ? literal("null") : NEVER,
  );
}

function listed(shape: Shape): Node {
  const { values, place, lower, upper, minLength, maxLength } = shape;
  const hasType = (type: JsonType): boolean => shape.types.has(type) && shape.hints.has(type);
  if (hasType("object") || hasType("array") || (hasType("string") && shape.pattern))
    fail(place, "has enum or const beside keywords that say more of them: leave those out");
  const fits = values!.filter((value) => {
    if (typeof value === "string") return minLength <= [...value].length && [...value].length <= maxLength;
    if (typeof value !== "number") return true;
    const isAbove = !lower || value > lower.value || (value === lower.value && !lower.isOpen);
    return isAbove && (!upper || value < upper.value || (value === upper.value && !upper.isOpen));
  });
  return oneOfTexts(fits.map((value) => JSON.stringify(value)));
}

function stringContent({ pattern, minLength, maxLength }: Shape): Node {
  return pattern
    ? patternGrammar(pattern.source, `schema ${pattern.place}`, minLength, maxLength)
    : repeat(json.character, minLength, maxLength);
}

function* childrenOf(shape: Shape): Generator<Conjunction> {
  const parts: Conjunction[] = [];
  if (writes(shape, "object")) parts.push(...shape.properties.values(), ...(shape.rest ? [shape.rest] : []));
  if (writes(shape, "array")) parts.push(...shape.prefix, ...(shape.items ? [shape.items] : []));
  for (const part of parts) if (part.length > 0) yield part;
}

/** Schemas that a property must fit that is required and has no name among the properties. */
function requiredRest({ rest }: Shape): Conjunction {
  return rest ?? [];
}

function canBeObject(shape: Shape, isPossible: (given: Conjunction) => boolean): boolean {
  if (!writes(shape, "object") || shape.minProperties > shape.maxProperties) return false;
  if (shape.required.size > shape.maxProperties) return false;
  const all = [
    ...shape.properties.values(),
    ...(shape.rest || shape.properties.size === 0 ? [requiredRest(shape)] : []),
  ];
  if (shape.minProperties > shape.required.size && !all.some(isPossible)) return false;
  return [...shape.required].every((name) => isPossible(shape.properties.get(name) ?? requiredRest(shape)));
}

function objectOf(shape: Shape, nodeOf: (given: Conjunction) => Node, read: Read): Node {
  const { place, required, minProperties, maxProperties } = shape;
  const properties = new Map(shape.properties);
  for (const name of required) if (!properties.has(name)) properties.set(name, requiredRest(shape));
  const isOpen = properties.size === 0 || shape.rest !== undefined;
  const restValue = isOpen ? nodeOf(requiredRest(shape)) : NEVER;
  if (shape.names && properties.size > 0)
    fail(place, "has propertyNames beside named properties, which cannot be kept together");
  const min = Math.max(0, minProperties - required.size);
  const isMap = properties.size === 0;
  // A name may come twice among those that the schema does not give: it counts once.
  if (min > 1 || (min === 1 && required.size > 0))
    fail(place, `minProperties ${minProperties} cannot be kept: make properties required instead`);
  if (!isMap && maxProperties < (isOpen && restValue !== NEVER ? Number.POSITIVE_INFINITY : properties.size))
    fail(place, `maxProperties ${maxProperties} cannot be kept beside named properties: leave it out`);
  if (isOpen && [...properties.keys()].some((name) => name.length > MAX_NAME))
    fail(place, `has a property name of more than ${MAX_NAME} characters beside additionalProperties`);
  const otherKey = isOpen ? json.stringExcept([...properties.keys()]) : NEVER;
  const key = shape.names ? keysOf(shape, read) : isMap ? json.anyString : otherKey;
  const entry = seq(key, json.colon, restValue);
  // `first`: behind the bracket; `later`: behind another property. Built from the last property on, so that the ends are shared.
  let first = maxProperties > 0 ? json.listOf(entry, 1, maxProperties) : NEVER;
  let later = repeat(seq(json.comma, entry), 0);
  let mayBeEmpty = min === 0;
  for (const [name, value] of [...properties].toReversed()) {
    const own = seq(literal(JSON.stringify(name)), json.colon, nodeOf(value));
    const isRequired = required.has(name);
    first = alt(seq(own, later), isRequired ? NEVER : first);
    later = alt(seq(json.comma, own, later), isRequired ? NEVER : later);
    if (isRequired) mayBeEmpty = false;
  }
  return json.bracketed("{", first, mayBeEmpty, "}");
}

/** Names of properties under propertyNames. */
function keysOf(shape: Shape, read: Read): Node {
  return alt(
    ...read(shape.names!).map((names) => {
      if (!names.types.has("string")) return NEVER;
      return names.values ? listed(names) : json.quoted(stringContent(names));
    }),
  );
}

/** Items that an array must have at least, at most, and their schemas. */
function itemsOf(shape: Shape): { readonly prefix: readonly Conjunction[]; readonly more: Conjunction | undefined } {
  const { items, prefix, minItems } = shape;
  // As with properties: what the schema does not speak of is written only where it must be, or where it speaks of nothing.
  return { prefix, more: items ?? (prefix.length === 0 || minItems > prefix.length ? [] : undefined) };
}

function canBeArray(shape: Shape, isPossible: (given: Conjunction) => boolean): boolean {
  const { minItems, maxItems } = shape;
  if (!writes(shape, "array") || minItems > maxItems) return false;
  const { prefix, more } = itemsOf(shape);
  if (!prefix.slice(0, minItems).every(isPossible)) return false;
  return minItems <= prefix.length || (more !== undefined && isPossible(more));
}

function arrayOf(shape: Shape, nodeOf: (given: Conjunction) => Node): Node {
  const { minItems, maxItems } = shape;
  const { prefix, more } = itemsOf(shape);
  const item = more ? nodeOf(more) : NEVER;
  const used = prefix.slice(0, maxItems);
  const [min, max] = [minItems - used.length, maxItems - used.length];
  if (used.length === 0) return json.bracketed("[", json.listOf(item, Math.max(1, min), max), min <= 0, "]");
  let later = repeat(seq(json.comma, item), Math.max(0, min), max);
  for (let i = used.length - 1; i >= 0; i--) {
    const own = seq(i > 0 ? json.comma : EMPTY, nodeOf(used[i]!), later);
    later = i >= minItems && i > 0 ? alt(own, EMPTY) : own;
  }
  return json.bracketed("[", later, minItems === 0, "]");
}
