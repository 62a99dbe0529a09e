/** generate, score and merge as a person calls them, on the embedded model. */
import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { shared } from "./shared.ts";

const models = resolve(import.meta.dir, "../../../models");
const model = join(models, "graft-micro-llama");
const adapter = join(models, "graft-micro-llama-common");
const folder = mkdtempSync(join(tmpdir(), "text-commands-"));
const question = "Q: Tom has 3 apples. Mia has 5 apples. True or false: Tom has more apples than Mia.\nA:";
const prompts = ["Tom has", question, "Mia took 2 red pears and"];

async function graft(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "../src/main.ts"), ...args], {
    stdout: "pipe",
    stderr: "pipe",
    stdin: "ignore",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, err };
}

interface Output {
  readonly ids: number[];
  readonly text: string;
  readonly finish_reason: string;
}
async function generate(...args: string[]): Promise<Output[]> {
  const { code, out, err } = await graft("generate", "--json", "--max-new-tokens", "12", ...args);
  if (code !== 0) throw new Error(err);
  return (JSON.parse(out) as { outputs: Output[] }).outputs;
}

const promptFile = join(folder, "prompts.jsonl");
writeFileSync(promptFile, prompts.map((prompt) => JSON.stringify({ prompt })).join("\n"));

test.each([
  ["greedy", []],
  ["sampled", ["--temperature", "0.9", "--top-k", "20", "--seed", "7"]],
  ["beams", ["--num-beams", "3"]],
  ["with an adapter", ["--adapter", adapter]],
])("%s: a file of prompts gives what each gives alone; progress is on stderr", async (_, options) => {
  const child = await graft(
    "generate",
    "--json",
    "--max-new-tokens",
    "12",
    "--model",
    model,
    "--file",
    promptFile,
    ...options,
  );
  expect(child.code).toBe(0);
  expect(child.err).toContain("generating: prompt 3/3\n");
  const { outputs } = JSON.parse(child.out) as { outputs: Output[] };
  expect(outputs.length).toBe(3);
  for (const [i, prompt] of prompts.entries()) {
    const [alone] = await generate("--model", model, "--prompt", prompt, ...options);
    expect(outputs[i]!).toEqual(alone!);
  }
});

test("the same seed gives the same tokens, another one others; ids are continued as the text they stand for", async () => {
  const sampled = (seed: string) =>
    generate("--model", model, "--prompt", "Tom has", "--temperature", "1", "--seed", seed, "--ignore-eos");
  expect(await sampled("1")).toEqual(await sampled("1"));
  expect(await sampled("1")).not.toEqual(await sampled("2"));
  const { out } = await graft("tokenize", "--tokenizer", model, "--add-special-tokens", "--json", "Tom has");
  const { ids } = (JSON.parse(out) as { items: [{ ids: number[] }] }).items[0];
  expect(await generate("--model", model, "--prompt-ids", ids.join(","))).toEqual(
    await generate("--model", model, "--prompt", "Tom has"),
  );
});

test("a stop text ends the output before it", async () => {
  const [whole] = await generate("--model", model, "--prompt", "Tom has");
  const word = whole!.text.trim().split(" ")[2]!;
  const [stopped] = await generate("--model", model, "--prompt", "Tom has", "--stop", word);
  expect(stopped!.finish_reason).toBe("stop");
  expect(stopped!.text).toBe(whole!.text.slice(0, whole!.text.indexOf(word)));
});

test.each([
  [2, "give one of --prompt, --prompt-ids and --file", []],
  [2, "--stop and --num-beams exclude each other", ["--prompt", "x", "--stop", ".", "--num-beams", "2"]],
  [1, "beam search and sampling exclude each other", ["--prompt", "x", "--temperature", "1", "--num-beams", "2"]],
  [1, "the vocabulary has 512", ["--prompt-ids", "5,9999"]],
  [1, "the model holds 256", ["--prompt", "x", "--max-new-tokens", "300"]],
  [1, "/nowhere.jsonl: no such file", ["--file", "/nowhere.jsonl"]],
  [1, "no such adapter folder", ["--prompt", "x", "--adapter", "/nowhere"]],
] as const)("exit code %i: %s", async (code, message, args) => {
  const result = await graft("generate", "--model", model, ...args);
  expect(result).toMatchObject({ code, out: "" });
  expect(result.err).toMatch(/^graft: .*\n$/);
  expect(result.err).toContain(message);
});

test("score: texts and ids alike, a probability for every token after the first, with the adapter others", async () => {
  const file = join(folder, "texts.json");
  const { out } = await graft("tokenize", "--tokenizer", model, "--add-special-tokens", "--json", question);
  const { ids } = (JSON.parse(out) as { items: [{ ids: number[] }] }).items[0];
  writeFileSync(file, JSON.stringify([{ text: question }, { ids }, { ids: [ids[0]] }]));
  const score = async (...args: string[]) => {
    const result = await graft("score", "--model", model, "--file", file, "--json", ...args);
    expect(result.code).toBe(0);
    expect(result.err).toContain("scoring: text 3/3\n");
    return (JSON.parse(result.out) as { items: { ids: number[]; logprobs: number[] }[] }).items;
  };
  const [text, same, one] = await score();
  expect(text!.ids).toEqual(ids);
  expect(text).toEqual(same!);
  expect(text!.logprobs.length).toBe(ids.length - 1);
  for (const logprob of text!.logprobs) expect(logprob).toBeLessThan(0);
  expect(one).toEqual({ ids: [ids[0]!], logprobs: [] });
  const [adapted] = await score("--adapter", adapter);
  expect(adapted!.logprobs).not.toEqual(text!.logprobs);
});

test("merge writes a model that does alone what the base does with the adapter", async () => {
  const merged = join(folder, "merged");
  const run = await graft("merge", "--model", model, "--adapter", adapter, "--output-dir", merged, "--json");
  expect(run).toMatchObject({ code: 0, out: `{"output_dir":${JSON.stringify(merged)}}\n` });
  expect(run.err).toContain("merging: tensor 38/38\n");
  expect(readdirSync(merged).toSorted()).toEqual(readdirSync(model).toSorted());
  const asked = ["--file", promptFile];
  const texts = (outputs: Output[]) => outputs.map(({ text }) => text);
  const adapted = texts(await generate("--model", model, "--adapter", adapter, ...asked));
  expect(texts(await generate("--model", merged, ...asked))).toEqual(adapted);
  expect(texts(await generate("--model", model, ...asked))).not.toEqual(adapted);
  const again = await graft("merge", "--model", model, "--adapter", adapter, "--output-dir", merged);
  expect(again.code).toBe(1);
  expect(again.err).toContain("is not empty");
});

const stories = shared("models/stories260K");
test.skipIf(stories === undefined)(
  "stories260K: the reference's continuations token for token, and its losses",
  async () => {
    const golden = (await Bun.file(join(stories!, "golden.json")).json()) as {
      max_new_tokens: number;
      greedy: { prompt: string; new_ids: number[]; text: string }[];
      loss: { ids: number[]; nll_per_token: number[] }[];
    };
    const file = join(folder, "stories.json");
    writeFileSync(file, JSON.stringify(golden.greedy.map(({ prompt }) => prompt)));
    const outputs = await generate("--model", stories!, "--file", file, "--max-new-tokens", `${golden.max_new_tokens}`);
    for (const [i, { new_ids }] of golden.greedy.entries())
      // The reference does not append the token that ended it.
      expect(outputs[i]!.ids.slice(0, new_ids.length)).toEqual(new_ids);
    writeFileSync(file, JSON.stringify(golden.loss.map(({ ids }) => ({ ids }))));
    const { out } = await graft("score", "--model", stories!, "--file", file, "--json");
    const { items } = JSON.parse(out) as { items: { logprobs: number[] }[] };
    for (const [i, { nll_per_token }] of golden.loss.entries()) {
      expect(items[i]!.logprobs.length).toBe(nll_per_token.length);
      for (const [t, nll] of nll_per_token.entries()) expect(Math.abs(items[i]!.logprobs[t]! + nll)).toBeLessThan(1e-3);
    }
  },
);
