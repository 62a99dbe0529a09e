/** JSON for file headers: every rule of RFC 8259 enforced, duplicate keys refused, numbers kept as their text, order of keys kept. */

export type StrictJson = null | boolean | string | JsonNumber | StrictJson[] | Map<string, StrictJson>;

/** A number as it is spelled: "1", "1.0" and "1e0" are told apart, and 2^53 + 1 is not rounded. */
export class JsonNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  /** The value of a plain non-negative integer below 2^53, else undefined. */
  toSize(): number | undefined {
    if (!/^(0|[1-9]\d{0,15})$/.test(this.text)) return undefined;
    const value = Number(this.text);
    return Number.isSafeInteger(value) ? value : undefined;
  }
}

/** Where and why a text is no JSON. `key` is set for a duplicate key. */
export class StrictJsonError extends Error {
  override name = "StrictJsonError";
  readonly key: string | undefined;
  constructor(message: string, key?: string) {
    super(message);
    this.key = key;
  }
}

const MAX_DEPTH = 64;
const whiteSpace = /[ \t\n\r]*/y;
// A string literal without its escapes being checked; JSON.parse does that.
const stringLiteral = /"(?:[^"\\]|\\.)*"/sy;
const numberLiteral = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** Parses a whole text. Linear in its length; nesting is limited to 64. Throws StrictJsonError. */
export function parseStrictJson(text: string): StrictJson {
  let at = 0;

  function fail(reason: string): never {
    throw new StrictJsonError(`${reason} at character ${at}`);
  }
  function skip(): void {
    whiteSpace.lastIndex = at;
    whiteSpace.test(text);
    at = whiteSpace.lastIndex;
  }
  function take(pattern: RegExp): string | undefined {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return undefined;
    const taken = text.slice(at, pattern.lastIndex);
    at = pattern.lastIndex;
    return taken;
  }
  function string(): string {
    const start = at;
    const literal = take(stringLiteral);
    if (literal === undefined) return fail("expected a string");
    let value: unknown;
    try {
      value = JSON.parse(literal);
    } catch {
      at = start;
      return fail("bad escape or control character in the string");
    }
    if (typeof value !== "string" || !value.isWellFormed()) {
      at = start;
      return fail("half of a surrogate pair in the string");
    }
    return value;
  }
  function members<T>(close: string, one: () => T, add: (item: T) => void): void {
    at++;
    skip();
    if (text[at] === close) {
      at++;
      return;
    }
    for (;;) {
      add(one());
      skip();
      const next = text[at];
      if (next !== "," && next !== close) fail(`expected "," or "${close}"`);
      at++;
      if (next === close) return;
      skip();
    }
  }
  function value(depth: number): StrictJson {
    if (depth > MAX_DEPTH) fail(`nested deeper than ${MAX_DEPTH}`);
    skip();
    const first = text[at];
    if (first === '"') return string();
    if (first === "[") {
      const list: StrictJson[] = [];
      members(
        "]",
        () => value(depth + 1),
        (item) => list.push(item),
      );
      return list;
    }
    if (first === "{") {
      const object = new Map<string, StrictJson>();
      members(
        "}",
        () => {
          const key = string();
          if (object.has(key)) throw new StrictJsonError(`key ${JSON.stringify(key)} occurs twice`, key);
          skip();
          if (text[at] !== ":") fail('expected ":"');
          at++;
          return { key, item: value(depth + 1) };
        },
        ({ key, item }) => object.set(key, item),
      );
      return object;
    }
    for (const [word, meaning] of [
      ["true", true],
      ["false", false],
      ["null", null],
    ] as const) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    const number = take(numberLiteral);
    return number === undefined ? fail("expected a value") : new JsonNumber(number);
  }

  const whole = value(0);
  skip();
  if (at !== text.length) fail("more text after the value");
  return whole;
}
