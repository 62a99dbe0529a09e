import { expect, test } from "bun:test";
import { resolve } from "node:path";
import { ConfigError } from "../errors/index.ts";
import { loadTokenizer } from "../text/index.ts";
import { findPromptTemplate } from "./prompts.ts";
import { IGNORE, tokenizeRows } from "./tokenize.ts";
import { tokenizeTraining } from "./tokenize-training.ts";

const tokenizer = loadTokenizer(resolve(import.meta.dir, "../../../../models/graft-micro-llama"));
const template = findPromptTemplate("micro");
const options = { template, cutoffLen: 64 };
const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });

test("a completion is learned behind its prompt, with an end token; train_on_inputs learns both", async () => {
  const rows = [
    { prompt: "Tom has 3 apples.", completion: " He eats one." },
    { prompt: "", completion: "Tom" },
  ];
  const { examples, truncated, unsupervised } = await tokenizeTraining(
    { format: "completion", rows },
    tokenizer,
    options,
  );
  expect([truncated, unsupervised]).toEqual([0, 0]);
  const [first, second] = examples;
  const prompt = encode(rows[0]!.prompt);
  expect([...first!.ids]).toEqual([...encode("Tom has 3 apples. He eats one."), tokenizer.eosId!]);
  expect([...first!.labels]).toEqual([...prompt.map(() => IGNORE), ...first!.ids.slice(prompt.length)]);
  expect([...second!.labels.slice(1)]).toEqual([...encode("Tom").slice(1), tokenizer.eosId!]);
  const all = await tokenizeTraining({ format: "completion", rows }, tokenizer, { ...options, trainOnInputs: true });
  expect(all.examples[0]!.labels).toEqual(first!.ids);
});

test("the token that prompt and completion share is learned", async () => {
  const rows = [{ prompt: "Tom ha", completion: "s 3 apples" }];
  const { examples } = await tokenizeTraining({ format: "completion", rows }, tokenizer, options);
  const { ids, labels } = examples[0]!;
  const begin = labels.findIndex((label) => label !== IGNORE);
  expect([...ids.slice(0, begin)]).toEqual(encode("Tom ha").slice(0, begin));
  expect(tokenizer.decode([...ids.slice(begin)], { isContinuation: true })).toContain("s 3 apples");
});

test("instructions give what tokenizeRows gives; their prompts are learned where nobody says otherwise", async () => {
  const rows = [{ instruction: "Tom has 3 apples.", input: "", output: "3" }];
  const made = await tokenizeTraining({ format: "instruction", rows }, tokenizer, options);
  expect(made).toEqual(tokenizeRows(rows, tokenizer, { ...options, trainOnInputs: true }));
});

test("a tokenizer without an end token is refused, and prompts that fill everything", async () => {
  const rows = [{ prompt: "Tom has 3 apples.", completion: "x" }];
  await expect(
    tokenizeTraining({ format: "completion", rows }, { ...tokenizer, eosId: undefined }, options),
  ).rejects.toThrow(ConfigError);
  await expect(
    tokenizeTraining({ format: "completion", rows }, tokenizer, { ...options, cutoffLen: 3 }),
  ).rejects.toThrow("every prompt fills cutoff_len 3");
});
