import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fixtures } from "../../test/shared.ts";
import { ConfigError } from "../errors/index.ts";
import { applyChatTemplate, type ChatMessage } from "./chat.ts";
import { loadTokenizer } from "./tokenizer.ts";

interface Case {
  readonly template: string;
  readonly messages: ChatMessage[];
  readonly addGenerationPrompt: boolean;
  readonly extra: { readonly tools?: unknown[]; readonly enable_thinking?: boolean };
  readonly text?: string;
  readonly refused?: string;
}

const { now, templates, cases }: { now: string; templates: Record<string, string>; cases: Case[] } = JSON.parse(
  readFileSync(join(fixtures, "chat/cases.json"), "utf8"),
);

test.each(Object.keys(templates))("template %s gives what Python's Jinja gives", (name) => {
  const own = cases.filter((one) => one.template === name);
  expect(own.length).toBeGreaterThan(0);
  for (const { messages, addGenerationPrompt, extra, text, refused } of own) {
    const { tools, ...variables } = extra;
    const apply = () =>
      applyChatTemplate(templates[name], messages, {
        addGenerationPrompt,
        tools,
        variables,
        bosToken: "<s>",
        eosToken: "</s>",
        now: () => new Date(now),
      });
    if (refused === undefined) expect(apply()).toBe(text!);
    else expect(apply).toThrow(new ConfigError(`the model's chat template refuses the messages: ${refused}`));
  }
});

const hello = [{ role: "user", content: "Hello" }];

test("a model without a template gets a clear error", () => {
  expect(() => applyChatTemplate(undefined, hello, { addGenerationPrompt: true })).toThrow(ConfigError);
  expect(() => applyChatTemplate(undefined, hello, { addGenerationPrompt: true })).toThrow(
    "this model has no chat template",
  );
});

test("a template that cannot be read says so", () => {
  expect(() => applyChatTemplate("{% for %}", hello, { addGenerationPrompt: true })).toThrow(
    /^the model's chat template cannot be read: /,
  );
});

test("a template cannot ask for a gigantic range", () => {
  for (const text of ["{{ range(1000000000) | length }}", "{{ range(0, 5, 0) }}"]) {
    expect(() => applyChatTemplate(text, hello, { addGenerationPrompt: true })).toThrow("at most 100000 are allowed");
  }
});

test("a tokenizer's own template makes a prompt that encodes with its special tokens", () => {
  const tokenizer = loadTokenizer(join(fixtures, "tokenizers/llama"));
  const token = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id));
  const text = applyChatTemplate(tokenizer.chatTemplate, hello, {
    addGenerationPrompt: true,
    bosToken: token(tokenizer.bosId),
    eosToken: token(tokenizer.eosId),
  });
  expect(text).toBe("<s>[user] Hello</s>\n[assistant]");
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  expect([ids[0], ids.filter((id) => id === 2).length]).toEqual([1, 1]);
});
