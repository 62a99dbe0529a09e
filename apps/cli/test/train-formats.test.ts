/** `graft train` on chats and completions. */
import { afterAll, expect, test } from "bun:test";
import { readTrainingRecord } from "@graft/adapters/train";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expectFailure, graft, micro, succeed } from "./process.ts";

const scratch = mkdtempSync(join(tmpdir(), "train-formats-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const file = (name: string, rows: readonly object[]): string => {
  const path = join(scratch, name);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
};
const chat = (n: number) => ({
  messages: [
    { role: "user", content: `Tom has ${n} apples.` },
    { role: "assistant", content: `${n}` },
  ],
});
const completion = (n: number) => ({ prompt: `Tom has ${n} apples.`, completion: ` ${n}` });
const numbers = [1, 2, 3, 4, 5, 6, 7, 8];
const train = (data: string, out: string, ...more: string[]) => [
  ...["train", "--base-model", micro, "--data-path", data, "--output-dir", join(scratch, out), "--json"],
  ...["--batch-size", "4", "--micro-batch-size", "4", "--num-epochs", "1", "--target-modules", "q_proj", ...more],
];

test("chats train, validated on completions of another file; what was learned is in the record", async () => {
  const [data, held] = [file("chat.jsonl", numbers.map(chat)), file("held.jsonl", numbers.map(completion))];
  const { out } = await succeed(...train(data, "chat", "--validation-path", held));
  const result = JSON.parse(out) as { steps: number; eval_losses: object[] };
  expect([result.steps, result.eval_losses.length]).toEqual([2, 1]);
  expect(readTrainingRecord(join(scratch, "chat"))).toMatchObject({ format: "chat", train_on_inputs: false });
});

test("a base without a chat template, and a file of two formats, are refused with what to do", async () => {
  const plain = join(scratch, "plain");
  cpSync(micro, plain, { recursive: true });
  const config = JSON.parse(readFileSync(join(plain, "tokenizer_config.json"), "utf8")) as object;
  writeFileSync(join(plain, "tokenizer_config.json"), JSON.stringify({ ...config, chat_template: undefined }));
  const data = file("more.jsonl", numbers.map(chat));
  expectFailure(
    await graft(...train(data, "none", "--val-set-size", "0", "--base-model", plain)),
    1,
    `${data}: line 1: row 1: the model has no chat template`,
    "put one beside it (chat_template.jinja), or give rows of prompt and completion",
  );
  const mixed = file("mixed.jsonl", [chat(1), completion(2)]);
  expectFailure(
    await graft(...train(mixed, "none", "--val-set-size", "0")),
    1,
    `${mixed}: line 2: row 2 is of the completion format, the file begins with the chat format; a file has one`,
  );
});
