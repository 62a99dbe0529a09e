import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseOptions, UsageError } from "../command.ts";
import tokenize from "./tokenize.ts";

const fixtures = join(import.meta.dir, "../../../../packages/core/test/fixtures/tokenizers");
const llama = join(fixtures, "llama");

async function run(...args: string[]): Promise<string> {
  const parsed = await parseOptions(tokenize, args);
  if (parsed === "help") throw new Error("help");
  const lines: string[] = [];
  const context = {
    positionals: parsed.positionals,
    signal: new AbortController().signal,
    log: () => undefined,
    print: (line: string) => lines.push(line),
  };
  expect(await tokenize.run(parsed.options, context)).toBe(0);
  return lines.join("\n");
}

test("texts of the command line become items, without added special tokens", async () => {
  const { items } = JSON.parse(await run("--tokenizer", llama, "--json", "Ada has", ""));
  expect(items.map((item: { text: string }) => item.text)).toEqual(["Ada has", ""]);
  expect(items[0].ids.length).toBeGreaterThan(1);
  expect(items[0].ids).not.toContain(1);
  expect(items[1].ids).toEqual([]);
  const whole = JSON.parse(await run("--tokenizer", llama, "--json", "--add-special-tokens", "Ada has"));
  expect(whole.items[0].ids).toEqual([1, ...items[0].ids]);
});

test("a file is a list of strings, or an object with one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "graft-tokenize-"));
  try {
    const path = join(folder, "strings.json");
    for (const content of [["a", ""], { strings: ["a", ""] }, { items: [{ text: "a" }, { text: "" }] }]) {
      writeFileSync(path, JSON.stringify(content));
      const { items } = JSON.parse(await run("--tokenizer", llama, "--file", path, "--json"));
      expect(items.map((item: { text: string }) => item.text)).toEqual(["a", ""]);
    }
    writeFileSync(path, "[1]");
    await expect(run("--tokenizer", llama, "--file", path)).rejects.toThrow("strings.json: ");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("special tokens in a text are read as the original implementation does, or as asked", async () => {
  const ids = async (...args: string[]) => JSON.parse(await run("--json", ...args)).items[0].ids as number[];
  expect(await ids("--tokenizer", llama, "</s>")).not.toContain(2);
  expect(await ids("--tokenizer", llama, "--parse-special", "</s>")).toEqual([2]);
  const bytes = join(fixtures, "byte-level");
  expect(await ids("--tokenizer", bytes, "<|end|>")).toEqual([0]);
  expect(await ids("--tokenizer", bytes, "--no-parse-special", "<|end|>")).not.toContain(0);
});

test("without --json each token stands on a line", async () => {
  expect(await run("--tokenizer", join(fixtures, "characters"), "1a")).toBe('2\t"1"\n12\t"a"');
});

test("nothing to encode is a usage error", async () => {
  await expect(run("--tokenizer", llama)).rejects.toThrow(UsageError);
});
