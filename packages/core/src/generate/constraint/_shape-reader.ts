/** From schemas to shapes: follows $ref, allOf, anyOf and oneOf, so that a value has one of the shapes of a list. */
import { ownShape } from "./_keywords.ts";
import {
  asArray,
  child,
  describe,
  fail,
  isObject,
  type Json,
  type JsonObject,
  type Located,
  resolveReference,
} from "./_schema-document.ts";
import { ANY, canonical, type Conjunction, meet, propertyOf, type Shape, TYPES, writtenTypes } from "./_shape.ts";

/** Choices that a schema may come to where anyOf and allOf are multiplied out. */
const MAX_SHAPES = 1000;
/** Schemas and properties looked at: about a second. */
const MAX_STEPS = 1_000_000;
/** References and allOf, anyOf, oneOf within each other without a property or an item between them. */
const MAX_TRAIL = 200;

/** The shapes of a conjunction, for the schemas of one document. */
export function shapeReader(root: Json): (given: Conjunction) => Shape[] {
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
    const own = ownShape(located);
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

function branches(located: Located, word: "allOf" | "anyOf" | "oneOf"): Located[] {
  const value = (located.schema as JsonObject)[word];
  if (value === undefined) return [];
  const list = asArray(value, located.place, word);
  if (list.length === 0) fail(located.place, `${word} is empty`);
  return list.map((_, i) => child(located, word, i));
}

function sizeOf({ properties, prefix, required, values }: Shape): number {
  return 1 + properties.size + prefix.length + required.size + (values?.length ?? 0);
}

function isBelow({ upper }: Shape, { lower }: Shape): boolean {
  if (!upper || !lower) return false;
  return upper.value < lower.value || (upper.value === lower.value && (upper.isOpen || lower.isOpen));
}
