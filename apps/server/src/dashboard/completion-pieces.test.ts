import { expect, test } from "bun:test";
import { piecesOf } from "./completion-pieces.ts";

test("chunks of both routes say the same", () => {
  const chat = { choices: [{ index: 0, delta: { content: "Hi" }, finish_reason: null }] };
  const completion = { choices: [{ index: 0, text: "Hi", finish_reason: "stop" }] };
  expect(piecesOf(JSON.stringify(chat))).toEqual([{ type: "text", text: "Hi" }]);
  expect(piecesOf(JSON.stringify(completion))).toEqual([
    { type: "text", text: "Hi" },
    { type: "end", reason: "stop" },
  ]);
  expect(piecesOf(JSON.stringify({ choices: [{ delta: { role: "assistant", content: "" } }], usage: null }))).toEqual(
    [],
  );
  expect(piecesOf(JSON.stringify({ choices: [], usage: { completion_tokens: 4 } }))).toEqual([
    { type: "usage", tokens: 4 },
  ]);
});

test("an error in mid-stream is thrown", () => {
  expect(() => piecesOf(JSON.stringify({ error: { message: "the engine died", param: null } }))).toThrow(
    "the engine died",
  );
});
