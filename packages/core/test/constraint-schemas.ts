/** Schemas that constrained decoding must keep, for the tests of constraints. */
export const schemas: Readonly<Record<string, unknown>> = {
  "an empty schema": {},
  "any object": { type: "object" },
  "required and optional properties": {
    type: "object",
    properties: {
      name: { type: "string" },
      age: { type: "integer" },
      isMember: { type: "boolean" },
      note: { type: "null" },
    },
    required: ["name", "isMember"],
    additionalProperties: false,
  },
  "only optional properties": {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "boolean" }, c: { type: "null" } },
    additionalProperties: false,
  },
  "properties without a type": { properties: { a: { type: "boolean" } }, required: ["a"] },
  "a required property without a schema": { type: "object", properties: { a: { const: 1 } }, required: ["b", "a"] },
  "names that need escapes": {
    type: "object",
    properties: {
      'quote"': { type: "null" },
      "back\\slash": { type: "boolean" },
      "新しい\n": { type: "boolean" },
      "": { type: "null" },
    },
    required: ['quote"', "back\\slash", "新しい\n", ""],
  },
  "other properties of one kind": {
    type: "object",
    properties: { id: { type: "integer" }, idea: { type: "boolean" }, é: { type: "null" } },
    required: ["id"],
    additionalProperties: { type: "string", maxLength: 3 },
  },
  "a map": { type: "object", additionalProperties: { type: "integer" }, maxProperties: 3, minProperties: 1 },
  "a map with names": {
    type: "object",
    propertyNames: { pattern: "^[a-z]{1,3}$" },
    additionalProperties: { type: "boolean" },
  },
  lists: { type: "array", items: { type: "integer" }, minItems: 2, maxItems: 4 },
  "an empty list": { type: "array", maxItems: 0 },
  tuples: {
    type: "array",
    prefixItems: [{ type: "boolean" }, { type: "null" }, { enum: ["x"] }],
    minItems: 1,
    items: false,
  },
  "tuples with more": {
    type: "array",
    prefixItems: [{ type: "boolean" }],
    items: { type: "null" },
    minItems: 3,
    maxItems: 5,
  },
  "enum of all types": {
    enum: ["red", "rot", "rouge", "", 12, -0.5, true, null, { a: [1, "é"] }, [], 'qu"ote', "\u0007"],
  },
  const: {
    type: "object",
    properties: { version: { const: "1.0.0" }, deep: { const: { z: 1, a: [true] } } },
    required: ["version", "deep"],
  },
  "enum with a type": { type: "string", enum: ["a", "b", 3] },
  anyOf: { anyOf: [{ type: "string", maxLength: 2 }, { type: "integer" }, { type: "array", items: { type: "null" } }] },
  "a choice of types": { type: ["string", "null"], maxLength: 4 },
  "oneOf by type": {
    oneOf: [
      { type: "string", maxLength: 5 },
      { type: "object", properties: { a: { type: "null" } }, required: ["a"] },
    ],
  },
  "oneOf by a tag": {
    oneOf: [
      {
        type: "object",
        properties: { kind: { const: "cat" }, lives: { type: "integer" } },
        required: ["kind", "lives"],
      },
      {
        type: "object",
        properties: { kind: { enum: ["dog", "wolf"] }, good: { type: "boolean" } },
        required: ["kind"],
      },
    ],
    discriminator: { propertyName: "kind" },
  },
  allOf: {
    allOf: [
      { type: "object", properties: { a: { type: "integer", minimum: 3 } }, required: ["a"] },
      { type: "object", properties: { b: { type: "boolean" }, a: { maximum: 30 } }, required: ["b"] },
    ],
  },
  "anyOf beside properties": {
    type: "object",
    properties: { a: { type: "null" }, b: { type: "null" } },
    anyOf: [{ required: ["a"] }, { required: ["b"] }],
  },
  "a tree": {
    $defs: {
      node: {
        type: "object",
        properties: { value: { type: "integer" }, children: { type: "array", items: { $ref: "#/$defs/node" } } },
        required: ["value", "children"],
        additionalProperties: false,
      },
    },
    $ref: "#/$defs/node",
  },
  "a linked list": {
    type: "object",
    properties: { head: { type: "boolean" }, tail: { anyOf: [{ $ref: "#" }, { type: "null" }] } },
    required: ["head", "tail"],
  },
  "expressions in two rules": {
    $defs: {
      sum: {
        type: "object",
        properties: { plus: { type: "array", items: { $ref: "#/$defs/term" }, minItems: 1 } },
        required: ["plus"],
      },
      term: { anyOf: [{ type: "number" }, { $ref: "#/$defs/sum" }] },
    },
    $ref: "#/$defs/term",
  },
  "a branch that never ends beside one that does": {
    $defs: { endless: { type: "object", properties: { more: { $ref: "#/$defs/endless" } }, required: ["more"] } },
    anyOf: [
      { $ref: "#/$defs/endless" },
      { type: "object", properties: { more: { $ref: "#/$defs/endless" }, a: { type: "null" } } },
    ],
  },
  "lengths of texts": { type: "string", minLength: 3, maxLength: 6 },
  "long texts": { type: "string", minLength: 20, maxLength: 1000 },
  "a pattern": { type: "string", pattern: "^[A-Z][a-z]{2,5}-\\d+(?:\\.\\d)?$" },
  "a pattern without anchors": { type: "string", pattern: "[^a-z]{2}\\W|^x+$" },
  "a pattern of escapes and other scripts": {
    type: "string",
    pattern: '^["\\\\\\n\\u0001é-ü\\u{1F600}-\\u{1F64F}\\p{Script=Greek}]{1,6}$',
  },
  "a pattern with a length": { type: "string", pattern: "^[a-z][a-z0-9_]*$", minLength: 3, maxLength: 8 },
  "a negated class": { type: "string", pattern: "^[^a-z\\s]{2,4}\\W$" },
  "nested repeats": { type: "string", pattern: "^(?:(?:a?b?)*c?){2,4}$" },
  "an integer range": { type: "integer", minimum: -17, exclusiveMaximum: 1203 },
  "a small integer range": { type: "integer", exclusiveMinimum: 3, maximum: 7 },
  "an open integer range": { type: "integer", minimum: 250 },
  "a number range": { type: "number", minimum: 0, maximum: 1 },
  "an open number range": { type: "number", exclusiveMinimum: -0.25, exclusiveMaximum: 12.5 },
  "a number range below zero": { type: "number", minimum: -1e-7, exclusiveMaximum: 0 },
  "a large number": { type: "number", minimum: 1e21 },
  "any number": { type: "number" },
  formats: {
    type: "object",
    properties: Object.fromEntries(
      ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"].map((format) => [
        format,
        { type: "string", format },
      ]),
    ),
    required: ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"],
    additionalProperties: false,
  },
};
