import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataError } from "../errors/index.ts";
import { Random } from "../random/index.ts";
import { readRows } from "./rows.ts";
import { inspectTrainingBytes, inspectTrainingFile, readTrainingRows } from "./training-file.ts";

const folder = mkdtempSync(join(tmpdir(), "training-file-"));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;
function file(content: string | Uint8Array): string {
  const path = join(folder, `${files++}.jsonl`);
  writeFileSync(path, content);
  return path;
}
const lines = (...rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const inspect = (text: string, options = {}) => inspectTrainingBytes(new TextEncoder().encode(text), "file", options);

const user = { role: "user", content: "Hi" };
const assistant = { role: "assistant", content: "Hello" };
const chat = { messages: [user, assistant] };
const completion = { prompt: "1 + 1 =", completion: " 2" };
const instruction = { instruction: "Add.", input: "1 1", output: "2" };

test("the content says which format a file has, as an array or as lines, plain or gzipped", async () => {
  for (const [format, row] of Object.entries({ chat, completion, instruction })) {
    for (const text of [lines(row, row), JSON.stringify([row, row], null, 1), `\uFEFF${lines(row)}\r\n\n${lines(row)}`])
      for (const bytes of [Buffer.from(text), Bun.gzipSync(Buffer.from(text))])
        expect(await inspectTrainingFile(file(bytes))).toEqual({ format: format as "chat", rows: 2 });
  }
});

test("instructions are read as readRows reads them", async () => {
  const path = file(lines(instruction, { ...instruction, input: null, answer: 2, more: [1] }));
  expect(await readTrainingRows(path)).toEqual({ format: "instruction", rows: await readRows(path) });
});

test("chats: which messages are learned, parts put together, further fields as they were", async () => {
  const call = { id: "1", type: "function", function: { name: "add", arguments: "{}" } };
  const rows = lines({
    messages: [
      {
        role: "system",
        content: [
          { type: "text", text: "Be " },
          { type: "text", text: "brief." },
        ],
      },
      user,
      { ...assistant, weight: 0 },
      user,
      { role: "assistant", content: null, tool_calls: [call], weight: 1 },
      { role: "tool", content: "2", tool_call_id: "1" },
      assistant,
    ],
    tools: [{ type: "function" }],
  });
  const read = await readTrainingRows(file(rows));
  expect(read.rows[0]).toMatchObject({
    messages: [
      { role: "system", content: "Be brief." },
      user,
      assistant,
      user,
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", content: "2", tool_call_id: "1" },
      assistant,
    ],
    learned: [4, 6],
    tools: [{ type: "function" }],
  });
});

test.each<[row: unknown, ...says: string[]]>([
  [{ messages: {} }, "messages must be an array, got an object"],
  [{ messages: [] }, "messages is empty"],
  [{ messages: [user] }, "the last message must be the assistant's, it is of role user"],
  [{ messages: [user, { ...assistant, weight: 0 }] }, "every message of the assistant has weight 0"],
  [{ messages: ["x"] }, 'messages[0] must be an object with role and content, got the string "x"'],
  [{ messages: [{ content: "x" }] }, "messages[0].role must be a string, got nothing"],
  [{ messages: [{ ...user, role: "asistant" }] }, 'messages[0].role: unknown role "asistant"; did you mean assistant?'],
  [{ messages: [user, { role: "assistant" }] }, "messages[1].content must be a string, got nothing"],
  [{ messages: [user, { ...assistant, content: "" }] }, "messages[1].content is empty"],
  [{ messages: [{ ...user, content: [{ type: "image_url" }] }] }, "messages[0].content[0] must be a part"],
  [{ messages: [user, { ...assistant, weight: 0.5 }] }, "messages[1].weight must be 0 or 1, got the number 0.5"],
  [{ messages: [{ ...user, weight: 1 }, assistant] }, "messages[0].weight: only messages of the assistant have one"],
  [{ ...chat, tools: "x" }, 'tools must be an array, got the string "x"'],
  [{ prompt: "x" }, 'field "completion" is missing; the row has the fields prompt'],
  [{ prompt: 5, completion: "x" }, 'field "prompt" must be a string, got the number 5'],
  [{ prompt: "x", completion: "" }, 'field "completion" is empty'],
  [
    { question: "x", answer: "y" },
    "is of no format: a row has messages, or instruction and output, or prompt and completion",
  ],
  [{}, "this one has no fields"],
  [5, "this one is the number 5"],
  [{ ["a\nb".repeat(1000)]: 1 }, "this one has the fields a ba ba b"],
])("a wrong row is refused: %j", async (row, ...says) => {
  const refused = inspect(`\n${lines(row)}`);
  await expect(refused).rejects.toThrow(DataError);
  for (const text of ["file: line 2: row 1", ...says]) await expect(refused).rejects.toThrow(text);
});

test("a file has one format: a row of another is named with its line", async () => {
  await expect(inspect(`${lines(chat)}\n${lines(completion)}`)).rejects.toThrow(
    new DataError(
      "file: line 3: row 2 is of the completion format, the file begins with the chat format; a file has one",
    ),
  );
  await expect(inspect(lines(instruction, 5))).rejects.toThrow(
    "line 2: row 2 must be an object with the fields instruction and output, got the number 5",
  );
});

test("all wrong rows are told in one error, ten at most", async () => {
  const wrong = `${lines(chat)}{nope\n${lines(chat, { messages: [user] })}`;
  await expect(inspect(wrong)).rejects.toThrow(
    /^file: 2 problems: line 2 is not valid JSON \(.*\); line 4: row 4: the last message must be the assistant's/,
  );
  const many = lines(...Array.from({ length: 30 }, () => ({ messages: [user] })));
  const error: Error = await inspect(many).then(
    () => new Error("was taken"),
    (caught: Error) => caught,
  );
  expect(error.message).toStartWith("file: the first 10 problems: line 1: row 1: ");
  expect(error.message.split("; line ").length).toBe(10);
  await expect(inspect(many, { maxProblems: 1 })).rejects.toThrow(/^file: line 1: row 1: the last message/);
});

test("an empty file, one that is no UTF-8, and one that unpacks to too much are refused", async () => {
  await expect(inspect("")).rejects.toThrow("file: the file is empty");
  await expect(inspect("[]")).rejects.toThrow("file: the file has no rows");
  const bytes = Buffer.concat([Buffer.from(lines(chat)), Uint8Array.of(0x22, 0xff, 0x22)]);
  await expect(inspectTrainingFile(file(bytes))).rejects.toThrow("line 2: the text is not UTF-8");
  const packed = file(Bun.gzipSync(Buffer.alloc(100_000, " ")));
  await expect(inspectTrainingFile(packed, { maxBytes: 50_000 })).rejects.toThrow("holds more than 50000 bytes");
});

test("only so many rows are read, and what follows is not looked at", async () => {
  const read = await readTrainingRows(file(`${lines(chat, chat)}{nope`), { maxRows: 2 });
  expect(read.rows.length).toBe(2);
});

test("whatever is in a file, it is read or refused with a DataError of one line", async () => {
  const random = new Random(5);
  const texts = [lines(chat, chat), lines(completion, completion), JSON.stringify([chat, chat]), lines(instruction)];
  const pieces = [
    '"',
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\n",
    "\\",
    "null",
    "0",
    "1e999",
    '"role"',
    "\u0000",
    "\u{1F600}",
    '"messages"',
  ];
  let refused = 0;
  for (let n = 0; n < 3000; n++) {
    const bytes = new TextEncoder().encode(texts[random.int(texts.length)]!);
    let changed: Uint8Array = bytes;
    for (let edits = 1 + random.int(3); edits > 0; edits--) {
      const [at, take] = [random.int(changed.length + 1), random.int(6)];
      const put =
        random.int(4) === 0
          ? Uint8Array.of(random.int(256))
          : new TextEncoder().encode(pieces[random.int(pieces.length)]!);
      changed = Buffer.concat([changed.subarray(0, at), put, changed.subarray(at + take)]);
    }
    try {
      const { rows } = await inspectTrainingBytes(changed, "file");
      expect(rows).toBeGreaterThan(0);
    } catch (error) {
      refused++;
      expect(error).toBeInstanceOf(DataError);
      expect((error as Error).message).toStartWith("file: ");
      expect((error as Error).message.includes("\n")).toBe(false);
      expect((error as Error).message.length).toBeLessThan(5000);
    }
  }
  expect(refused).toBeGreaterThan(500);
});
