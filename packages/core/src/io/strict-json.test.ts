import { expect, test } from "bun:test";
import { Random } from "../random/index.ts";
import { JsonNumber, parseStrictJson, type StrictJson, StrictJsonError } from "./_strict-json.ts";

/** As JSON.parse gives it. */
function plain(value: StrictJson): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return value;
}

test("what is JSON is read as JSON.parse reads it, and nothing else is", () => {
  const seed = 47;
  const random = new Random(seed);
  const pieces = [
    '{"a":1}',
    "[1,2]",
    "null",
    "true",
    '"x\\n\\u00e9"',
    "-0.5e+3",
    " ",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    "01",
    "1.",
    "+1",
    "NaN",
    "\u00a0",
    "\ufeff",
    "\u0001",
    '""',
  ];
  let valid = 0;
  for (let round = 0; round < 30_000; round++) {
    const text = Array.from({ length: 1 + random.int(6) }, () => pieces[random.int(pieces.length)]!).join("");
    let want: unknown;
    let isValid = true;
    try {
      want = JSON.parse(text);
      valid++;
    } catch {
      isValid = false;
    }
    let got: unknown;
    let isRead = true;
    try {
      got = plain(parseStrictJson(text));
    } catch (error) {
      if (!(error instanceof StrictJsonError)) throw error;
      isRead = false;
    }
    if (isRead !== isValid || (isValid && !Bun.deepEquals(got, want, true)))
      throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(text)}`);
  }
  expect(valid).toBeGreaterThan(1_500);
});

test("order of keys, digits of numbers and keys like __proto__ survive", () => {
  const read = parseStrictJson('{"10":9007199254740993,"2":1.0,"__proto__":{}}');
  if (!(read instanceof Map)) throw new Error("no object");
  expect([...read.keys()]).toEqual(["10", "2", "__proto__"]);
  expect([...read.values()].slice(0, 2).map((n) => (n instanceof JsonNumber ? [n.text, n.toSize()] : n))).toEqual([
    ["9007199254740993", undefined],
    ["1.0", undefined],
  ]);
});

test("a key that occurs twice is named, however it is spelled", () => {
  expect(() => parseStrictJson('{"a":1,"\\u0061":2}')).toThrow(new StrictJsonError('key "a" occurs twice', "a"));
});

test("nesting is limited, and long texts take time that grows with their length", () => {
  expect(() => parseStrictJson("[".repeat(1_000_000))).toThrow("nested deeper than 64");
  const began = performance.now();
  parseStrictJson(`[${'"a",'.repeat(500_000)}1]`);
  expect(performance.now() - began).toBeLessThan(20_000);
});
