import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { type Call, type CallReader, readForced, toolFormatOf } from "./tool-calls.ts";

const tagged = toolFormatOf("... <tool_call> ...")!;
const bare = toolFormatOf(`{"name": "' + name + '", "parameters": ...}`)!;
const names = new Set(["add", "f"]);

/** Everything of an answer that comes in these parts. */
function read(reader: CallReader, parts: readonly string[]): { text: string; calls: Call[] } {
  const pieces = [...parts.map((part) => reader.push(part)), reader.end()];
  return { text: pieces.map(({ text }) => text).join(""), calls: pieces.flatMap(({ calls }) => calls) };
}

const add = { name: "add", arguments: '{"a":1,"b":[2]}' };
const f = { name: "f", arguments: "{}" };
const taggedCases: readonly (readonly [string, string, readonly Call[]])[] = [
  ["no call at all <tool", "no call at all <tool", []],
  ['<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call>', "", [add]],
  ['I add.\n\n<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}</tool_call>\n', "I add.", [add]],
  [
    '<tool_call>{"name": "f", "arguments": {}}</tool_call>\n<tool_call>{"name":"add","parameters":{"a":1,"b":[2]}}</tool_call> done ',
    "done ",
    [f, add],
  ],
  ['<tool_call>{"name": "f", "arguments": {}}', "", [f]],
  ["<tool_call>add(1)</tool_call> so", "<tool_call>add(1)</tool_call> so", []],
  ['<tool_call>{"name": "f"', '<tool_call>{"name": "f"', []],
  ['<tool_call>{"name": 3, "arguments": {}}</tool_call>', '<tool_call>{"name": 3, "arguments": {}}</tool_call>', []],
  ["<tool_call>null</tool_call>", "<tool_call>null</tool_call>", []],
  ["a < b <<tool_call>[]", "a < b <<tool_call>[]", []],
  [" \n text \n", " \n text \n", []],
  ["", "", []],
];
const bareCases: readonly (readonly [string, string, readonly Call[]])[] = [
  ['{"name": "add", "parameters": {"a": 1, "b": [2]}}', "", [add]],
  ['<|python_tag|>{"name": "f", "parameters": {}}', "", [f]],
  ['\n{"name": "f", "arguments": {}}', "", [f]],
  ['{"name": "other", "parameters": {}}', '{"name": "other", "parameters": {}}', []],
  ['{"name": "f"}', '{"name": "f"}', []],
  ["{not JSON", "{not JSON", []],
  ['Sure: {"name": "f", "parameters": {}}', 'Sure: {"name": "f", "parameters": {}}', []],
  [" plain ", " plain ", []],
  ["<|py", "<|py", []],
  ["", "", []],
];

test("answers are text and calls, however they come in parts", () => {
  const seed = 11;
  const random = new Random(seed);
  for (const [format, cases] of [
    [tagged, taggedCases],
    [bare, bareCases],
  ] as const)
    for (const [answer, text, calls] of cases) {
      const letters = [...answer];
      const parts: string[] = [];
      for (let at = 0; at < letters.length;) {
        const count = 1 + random.int(9);
        parts.push(letters.slice(at, at + count).join(""));
        at += count;
      }
      for (const split of [[answer], letters, parts])
        expect([answer, read(format.reader(names), split)]).toEqual([answer, { text, calls: [...calls] }]);
    }
});

test("text that is no call is not held back", () => {
  const first = tagged.reader(names);
  expect(first.push("Tom has <").text).toBe("Tom has");
  expect(first.push("b").text).toBe(" <b");
  const second = bare.reader(names);
  expect(second.push(" T").text).toBe(" T");
  expect(second.push("{").text).toBe("{");
});

test("a text of random tags and braces loses nothing that is no call", () => {
  const pieces = ["<tool_call>", "</tool_call>", "<", "{", "}", "x", '"name"', "[]", "</tool", "call>"];
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const parts = Array.from({ length: random.int(12) }, () => pieces[random.int(pieces.length)]!);
    for (const format of [tagged, bare]) {
      const { text, calls } = read(format.reader(names), parts);
      if (text !== parts.join("") || calls.length > 0)
        throw new Error(`seed ${seed}: ${parts.join("")} gave ${text} and ${calls.length} calls`);
    }
  }
});

test("a forced call is the whole answer, and a part of one is text", () => {
  expect(read(readForced(), ['{"name": "f", ', '"arguments": {}}'])).toEqual({ text: "", calls: [f] });
  expect(read(readForced(), ['{"name": "f", '])).toEqual({ text: '{"name": "f", ', calls: [] });
});

test("templates show their format", () => {
  expect(toolFormatOf("{{ messages }}")).toBeUndefined();
  // Qwen 3 Coder: XML in the tags.
  expect(toolFormatOf("<tool_call>\n<function=example>")).toBeUndefined();
  expect([tagged.opens, bare.opens]).toEqual(["<tool_call>\n", ""]);
});
