import { expect, test } from "bun:test";
import { loadTokenizer } from "@graft/core/text";
import { Random } from "@graft/core/random";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { stories } from "../../../scripts/micro/corpus.ts";
import { microCommon, microMath, type Problem } from "../../../scripts/micro/problems.ts";
import { trainTokenizer } from "../../../scripts/micro/tokenizer.ts";

const root = resolve(import.meta.dir, "../../..");
const models = join(root, "models");
const read = (name: string) => JSON.parse(readFileSync(join(models, "data", `${name}.json`), "utf8")) as Problem[];

test("the committed problems are what the generator writes, and no test problem is in a training set", () => {
  expect(read("micro-math-train")).toEqual(microMath(1, 2000, "train"));
  expect(read("micro-math-test")).toEqual(microMath(1, 200, "test"));
  expect(read("micro-common-train")).toEqual(microCommon(1, 600, "train"));
  expect(read("micro-common-test")).toEqual(microCommon(1, 100, "test"));
  for (const name of ["micro-math", "micro-common"]) {
    const trained = new Set(read(`${name}-train`).map((p) => p.instruction));
    expect(read(`${name}-test`).filter((p) => trained.has(p.instruction))).toEqual([]);
  }
});

test("every answer of micro-math follows from its numbers", () => {
  for (const { instruction, output, answer } of read("micro-math-test")) {
    const [a, b] = instruction.match(/\d+/g)!.map(Number) as [number, number];
    expect([a + b, a - b].map(String)).toContain(answer);
    expect(output).toEndWith(`The answer is ${answer}.`);
  }
});

test("the corpus holds no question with its answer", () => {
  for (const text of stories(new Random(1, 2), 5000)) {
    expect(text).not.toContain("The answer is");
    expect(text).not.toContain("The correct answer is");
  }
});

test("the tokenizer is a pure function of its text, and keeps every text", () => {
  const lines = () => stories(new Random(7), 500);
  const first = trainTokenizer(lines(), 400);
  expect(trainTokenizer(lines(), 400)).toEqual(first);
  const tokenizer = loadTokenizer(join(models, "graft-micro-llama"));
  expect(tokenizer.vocabSize).toBe(512);
  for (const text of ["Tom has 13 apples.", "Q: How many?\nA: 7", "naïve 日本 🙂", "  two  blanks ", "\n\n"]) {
    expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
  }
});

test("the demo runs from its first line to its last", async () => {
  const demo = Bun.spawn(
    ["bun", join(root, "apps/cli/src/main.ts"), "demo", "--steps", "4", "--problems", "3", "--json"],
    { cwd: root, stdout: "pipe", stderr: "pipe" },
  );
  const [out, err, code] = await Promise.all([
    new Response(demo.stdout).text(),
    new Response(demo.stderr).text(),
    demo.exited,
  ]);
  if (code !== 0) throw new Error(`exit code ${code}: ${err}`);
  const figures = JSON.parse(out) as Record<string, unknown>;
  expect(figures).toMatchObject({ before: 0, steps: 4 });
  expect(typeof figures.common_answer).toBe("string");
  expect(existsSync(join(models, "graft-micro-llama-common/adapter_model.safetensors"))).toBe(true);
});
