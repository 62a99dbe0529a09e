/** What every command must hold to, run over the registry; and the command line as a process. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fieldsOf, parseOptions } from "../src/command.ts";
import { aliases, commands, findCommand } from "../src/main.ts";
import { graft } from "./process.ts";

/** Words of a shell line with single and double quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)].map(([word]) =>
    word.replace(/"([^"]*)"|'([^']*)'/g, (_, double?: string, single?: string) => double ?? single ?? ""),
  );
}

describe.each(Object.keys(commands))("%s", (name) => {
  test("says of itself what the registry says of it", async () => {
    const { default: command } = await commands[name]!.load();
    expect(command.name).toBe(name);
    expect(commands[name]!.summary.startsWith(command.summary)).toBe(true);
  });

  test("describes each of its options", async () => {
    const { default: command } = await commands[name]!.load();
    expect(fieldsOf(command.options).filter((field) => field.description === "")).toEqual([]);
  });

  test("has examples, and understands them", async () => {
    const { default: command } = await commands[name]!.load();
    const own = command.examples.filter((line) => line.startsWith("graft "));
    expect(own.length).toBeGreaterThan(0);
    // The config file of an example is not there to be read.
    for (const line of own.filter((l) => !l.includes("--config"))) {
      const found = findCommand(words(line).slice(1));
      if ("group" in found) throw new Error(`${line}: names no command`);
      expect(found.name).toBe(name);
      expect(await parseOptions(command, found.rest)).not.toBe("help");
    }
  });
});

test("the command lines of the README are understood", async () => {
  const text = readFileSync(join(import.meta.dir, "../../../README.md"), "utf8").replaceAll("\\\n", " ");
  const lines = [...text.matchAll(/^\.\/graft (.*)$/gm)].map((match) => words(match[1]!.replace(/\s#.*$/, "")));
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines) {
    const found = findCommand(line);
    if ("group" in found) throw new Error(`${line.join(" ")}: names no command`);
    await parseOptions((await commands[found.name]!.load()).default, found.rest);
  }
});

test("an alias stands for a command that is there", () => {
  for (const [alias, name] of Object.entries(aliases)) {
    expect(Object.keys(commands)).toContain(name);
    expect(Object.keys(commands)).not.toContain(alias);
  }
});

test("help lists every command, and a command's help its options and examples", async () => {
  const overview = await graft("--help");
  expect(overview.code).toBe(0);
  for (const name of Object.keys(commands)) expect(overview.out).toContain(`  ${name} `);
  const help = await graft("help", "finetune");
  expect(help.code).toBe(0);
  expect(help.out).toContain("--base-model <string>");
  expect(help.out).toContain("Examples:\n  graft train");
  expect(help.err).toBe("");
});

test("a group of commands lists its own, and near names are found in it", async () => {
  for (const line of [["adapters"], ["adapters", "--help"], ["help", "adapters"]]) {
    const { code, out } = await graft(...line);
    expect(code).toBe(0);
    expect(out).toContain("\n  adapters ls ");
    expect(out).not.toContain("\n  train ");
  }
  expect((await graft("help", "adapters", "ls")).out).toContain("Examples:\n  graft adapters ls");
  const wrong = await graft("adapters", "shwo");
  expect([wrong.code, wrong.err]).toEqual([
    2,
    expect.stringMatching(/^graft: unknown command "adapters shwo"; did you mean adapters show/),
  ]);
});

test("a wrong command line exits 2 with one line on stderr that says what was meant", async () => {
  expect(await graft("trian")).toEqual({
    code: 2,
    out: "",
    err: expect.stringMatching(/^graft: unknown command "trian"; did you mean train\? Available: .*\n$/),
  });
  expect(await graft("check", "--onyl", "lint")).toEqual({
    code: 2,
    out: "",
    err: "graft: unknown option --onyl; did you mean --only?\n",
  });
  expect((await graft("check", "--zzzzzz")).err).toBe(
    "graft: unknown option --zzzzzz; `graft check --help` lists the options\n",
  );
});

test("a failure exits 1 with one line on stderr; --debug shows the stack", async () => {
  const missing = ["tokenize", "--tokenizer", "/nowhere", "text"];
  const plain = await graft(...missing);
  expect(plain.code).toBe(1);
  expect(plain.err).toMatch(/^graft: .*\/nowhere.*\n$/);
  const debug = await graft(...missing, "--debug");
  expect(debug.code).toBe(1);
  expect(debug.err).toContain("at ");
});
