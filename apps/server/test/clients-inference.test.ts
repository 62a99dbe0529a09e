/** Unmodified clients drive inference on a real engine: the `openai` package, the Vercel AI SDK and LangChain; and each field of a request does what it says. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { tool as langChainTool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAI as CompletionOpenAI } from "@langchain/openai";
import { generateObject, generateText, streamText, tool } from "ai";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { z } from "zod";
import type { RunningServer } from "../src/index.ts";
import { microModel, startMicroServer } from "./in-process.ts";
import { until } from "./shared.ts";

const base = "graft-micro-llama";
const folder = mkdtempSync(join(tmpdir(), "clients-"));
let server: RunningServer;
let openai: OpenAI;
let provider: ReturnType<typeof createOpenAICompatible>;

/** The embedded model with a place for tools in its chat template. */
function modelWithTools(): string {
  const model = join(folder, "base");
  cpSync(microModel, model, { recursive: true });
  const file = join(model, "tokenizer_config.json");
  const config = JSON.parse(readFileSync(file, "utf8")) as { chat_template: string };
  config.chat_template = `{% if tools %}<tool_call>{% for tool in tools %} {{ tool.function.name }}{% endfor %}\n{% endif %}${config.chat_template}`;
  writeFileSync(file, JSON.stringify(config));
  return model;
}

beforeAll(async () => {
  Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });
  server = await startMicroServer({ model: modelWithTools() });
  openai = new OpenAI({ apiKey: "none", baseURL: `${server.url}/v1`, maxRetries: 0 });
  provider = createOpenAICompatible({
    name: "graft",
    baseURL: `${server.url}/v1`,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const prompt = "Tom has 3 apples. Ana gives Tom 2 apples. ";
const question = "The cup is red. Is the cup blue?";
const messages = [{ role: "user" as const, content: question }];
const verdict = z.object({ answer: z.enum(["yes", "no"]), isSure: z.boolean() });
const ask = (more: Partial<OpenAI.CompletionCreateParamsNonStreaming> & Record<string, unknown> = {}) =>
  openai.completions.create({ model: base, prompt, max_tokens: 12, temperature: 0, ...more });
const textOf = async (more: Parameters<typeof ask>[0] = {}) => (await ask(more)).choices[0]!.text;

/** The one token of a text. */
async function idOf(text: string): Promise<number> {
  const body = JSON.stringify({ prompt: text, add_special_tokens: false });
  const response = await fetch(`${server.url}/tokenize`, { method: "POST", body });
  const { tokens } = (await response.json()) as { tokens: number[] };
  expect([text, tokens.length]).toEqual([text, 1]);
  return tokens[0]!;
}

describe("the openai package", () => {
  test("lists, completes, chats and streams, for the base and an adapter", async () => {
    const ids = [];
    for await (const model of openai.models.list()) ids.push(model.id);
    expect(ids).toEqual([base, "common"]);
    expect(await openai.models.retrieve("common")).toMatchObject({ id: "common", parent: base });
    for (const model of ids) {
      const whole = await ask({ model });
      const chat = await openai.chat.completions.create({ model, messages, temperature: 0, max_tokens: 12 });
      let [text, said] = ["", ""];
      let usage: OpenAI.CompletionUsage | null | undefined;
      const options = {
        stream: true,
        stream_options: { include_usage: true },
        temperature: 0,
        max_tokens: 12,
      } as const;
      for await (const chunk of await openai.completions.create({ model, prompt, ...options })) {
        text += chunk.choices[0]?.text ?? "";
        usage = chunk.usage;
      }
      for await (const chunk of await openai.chat.completions.create({ model, messages, ...options }))
        said += chunk.choices[0]?.delta.content ?? "";
      expect([text, usage!.completion_tokens]).toEqual([whole.choices[0]!.text, whole.usage!.completion_tokens]);
      expect(said).toBe(chat.choices[0]!.message.content!);
    }
  });

  test("parses JSON that follows a schema, and calls a tool that must be called", async () => {
    const schema = z.toJSONSchema(verdict);
    const answer = await openai.chat.completions.parse({
      model: base,
      messages,
      response_format: { type: "json_schema", json_schema: { name: "verdict", schema, strict: true } },
    });
    verdict.parse(answer.choices[0]!.message.parsed);
    // Without a schema it may be cut off before its end.
    const { text, finish_reason } = (await ask({ response_format: { type: "json_object" }, max_tokens: 150 }))
      .choices[0]!;
    expect(text.trimStart()).toStartWith("{");
    if (finish_reason === "stop") JSON.parse(text);
    const tools = [
      { type: "function" as const, function: { name: "judge", parameters: schema } },
      {
        type: "function" as const,
        function: { name: "pass", parameters: { type: "object", properties: {}, additionalProperties: false } },
      },
    ];
    for (const tool_choice of ["required", { type: "function", function: { name: "judge" } }] as const) {
      const { choices } = await openai.chat.completions.create({ model: base, messages, tools, tool_choice });
      const call = choices[0]!.message.tool_calls![0]!;
      if (call.type !== "function") throw new Error(call.type);
      expect([choices[0]!.finish_reason, ["judge", "pass"]]).toEqual([
        "tool_calls",
        expect.arrayContaining([call.function.name]),
      ]);
      if (call.function.name === "judge") verdict.parse(JSON.parse(call.function.arguments));
    }
  });

  test("has its own classes for what goes wrong", async () => {
    const failure = (more: Parameters<typeof ask>[0]) => ask(more).catch((error: unknown) => error);
    expect(await failure({ model: "nobody" })).toBeInstanceOf(OpenAI.NotFoundError);
    const wrong = await failure({ temperature: 9 });
    expect(wrong).toBeInstanceOf(OpenAI.BadRequestError);
    expect(wrong).toMatchObject({ param: "temperature" });
  });
});

describe("the Vercel AI SDK", () => {
  test("generates and streams text, with the chat and the completion model", async () => {
    const options = { prompt: question, temperature: 0, maxOutputTokens: 12 };
    const whole = await generateText({ model: provider("common"), ...options });
    const stream = streamText({ model: provider("common"), ...options });
    let text = "";
    for await (const part of stream.textStream) text += part;
    expect(text).toBe(whole.text);
    expect((await stream.usage).outputTokens).toBe(whole.usage.outputTokens);
    const completed = await generateText({ model: provider.completionModel(base), ...options });
    expect(completed.text.length).toBeGreaterThan(0);
  });

  test("generates an object that follows a schema", async () => {
    const { object } = await generateObject({ model: provider(base), schema: verdict, prompt: question });
    verdict.parse(object);
  });

  test("runs a tool that must be called", async () => {
    const judged: unknown[] = [];
    const judge = tool({ inputSchema: verdict, execute: async (input) => void judged.push(verdict.parse(input)) });
    const result = await generateText({
      model: provider(base),
      prompt: question,
      tools: { judge },
      toolChoice: "required",
    });
    expect(result.finishReason).toBe("tool-calls");
    expect(judged).toHaveLength(1);
  });
});

describe("LangChain", () => {
  const configuration = () => ({ baseURL: `${server.url}/v1` });
  const chat = (model: string) =>
    new ChatOpenAI({
      model,
      apiKey: "none",
      configuration: configuration(),
      temperature: 0,
      maxTokens: 150,
      maxRetries: 0,
    });

  test("invokes and streams chat, and completes", async () => {
    const whole = await chat("common").invoke(question);
    let text = "";
    for await (const chunk of await chat("common").stream(question)) text += chunk.text;
    expect(text).toBe(whole.text);
    expect(whole).toMatchObject({ usage_metadata: { output_tokens: expect.any(Number) as number } });
    const llm = new CompletionOpenAI({
      model: base,
      apiKey: "none",
      configuration: configuration(),
      temperature: 0,
      maxTokens: 12,
    });
    expect(await llm.invoke(prompt)).toBe(await textOf());
  });

  test("gets an object that follows a schema, and a tool's call", async () => {
    verdict.parse(await chat(base).withStructuredOutput(verdict, { method: "jsonSchema" }).invoke(question));
    const judge = langChainTool(() => "ok", { name: "judge", description: "judges", schema: verdict });
    const { tool_calls: calls } = await chat(base).bindTools([judge], { tool_choice: "judge" }).invoke(question);
    expect(calls).toMatchObject([{ name: "judge" }]);
    verdict.parse(calls![0]!.args);
  });
});

describe("fields", () => {
  test("what leaves one token to choose is greedy, and a seed draws the same again", async () => {
    const greedy = await textOf();
    for (const more of [{ top_k: 1 }, { top_p: 1e-6 }, { min_p: 1 }])
      expect([more, await textOf({ temperature: 2, seed: 3, ...more })]).toEqual([more, greedy]);
    const draw = (seed: number) => textOf({ temperature: 2, seed });
    expect(await draw(5)).toBe(await draw(5));
    expect(new Set([await draw(5), await draw(6), await draw(7)]).size).toBeGreaterThan(1);
    const copies = (await ask({ temperature: 2, seed: 5, n: 3 })).choices;
    expect(copies.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(new Set(copies.map(({ text }) => text)).size).toBeGreaterThan(1);
  });

  test("penalties and biases move the choice", async () => {
    const answersOf = async (more: Parameters<typeof ask>[0]) =>
      (await ask({ max_tokens: 24, ignore_eos: true, logprobs: 0, ...more })).choices.map(
        ({ logprobs }) => logprobs!.tokens!,
      );
    const tokensOf = async (more: Parameters<typeof ask>[0]) => (await answersOf(more))[0]!;
    const repeatsOf = async (more: Parameters<typeof ask>[0]) => {
      const answers = await answersOf({ temperature: 1.5, seed: 4, n: 8, ...more });
      return answers.reduce((sum, tokens) => sum + tokens.length - new Set(tokens).size, 0);
    };
    const plain = await repeatsOf({});
    for (const field of ["frequency_penalty", "presence_penalty"]) {
      const [fewer, more] = [await repeatsOf({ [field]: 2 }), await repeatsOf({ [field]: -2 })];
      expect([field, fewer < plain, more > plain]).toEqual([field, true, true]);
    }
    expect(await repeatsOf({ repetition_penalty: 1.5 })).toBeLessThan(plain);
    const [first] = await tokensOf({ max_tokens: 1 });
    const id = await idOf(first!);
    expect((await tokensOf({ max_tokens: 1, logit_bias: { [id]: -100 } }))[0]).not.toBe(first);
    expect(new Set(await tokensOf({ logit_bias: { [id]: 100 } }))).toEqual(new Set([first!]));
  });

  test("stop texts, stop tokens and end tokens end an answer", async () => {
    const whole = await ask({ max_tokens: 30, ignore_eos: true });
    const { text } = whole.choices[0]!;
    expect(whole.usage!.completion_tokens).toBe(30);
    const stop = text.slice(6, 9);
    const cut = (await ask({ max_tokens: 30, stop: [stop], ignore_eos: true })).choices[0]!;
    expect(cut).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finish_reason: "stop" });
    const listed = (await ask({ max_tokens: 30, ignore_eos: true, logprobs: 0 })).choices[0]!.logprobs!;
    const tokens = listed.tokens!;
    const fifth = await idOf(tokens[4]!);
    const stopped = (await ask({ max_tokens: 30, ignore_eos: true, logprobs: 0, stop_token_ids: [fifth] })).choices[0]!;
    expect(stopped.finish_reason).toBe("stop");
    // The token that ended it is the last entry.
    expect(stopped.logprobs!.tokens!).toEqual(tokens.slice(0, tokens.indexOf(tokens[4]!) + 1));
    expect(stopped.text).toBe(tokens.slice(0, tokens.indexOf(tokens[4]!)).join(""));
  });

  test("best_of gives what has the highest mean log-probability of those that n gives", async () => {
    const options = { temperature: 1.5, seed: 9, logprobs: 0, max_tokens: 8 };
    const mean = (choice: OpenAI.CompletionChoice) => {
      const logprobs = choice.logprobs!.token_logprobs! as number[];
      return logprobs.reduce((sum, x) => sum + x, 0) / logprobs.length;
    };
    const all = (await ask({ ...options, n: 6 })).choices.toSorted((a, b) => mean(b) - mean(a));
    const best = await ask({ ...options, n: 2, best_of: 6 });
    expect(best.choices.map(({ text }) => text)).toEqual(all.slice(0, 2).map(({ text }) => text));
    expect(best.choices.map((choice) => choice.index)).toEqual([0, 1]);
  });

  test("echo gives the prompt back, with numbers that do not depend on how it is asked", async () => {
    const { choices, usage } = await ask({ echo: true, logprobs: 2, max_tokens: 4 });
    const { text, logprobs } = choices[0]!;
    expect(text).toBe(prompt + (await textOf({ max_tokens: 4 })));
    expect(logprobs!.tokens).toHaveLength(usage!.total_tokens);
    const again = await ask({ echo: true, logprobs: 2, max_tokens: 0, prompt: [text, prompt] });
    expect(again.choices[1]!.logprobs!.token_logprobs).toEqual(
      logprobs!.token_logprobs!.slice(0, usage!.prompt_tokens),
    );
    expect(again.choices[0]!.text).toBe(text);
  });

  test("a prompt that was there before comes from the cache", async () => {
    const long = "Zoe has 9 red balls and 4 blue cups. ".repeat(4);
    const cachedOf = async () => (await ask({ prompt: long, max_tokens: 1 })).usage!;
    const first = await cachedOf();
    const second = await cachedOf();
    expect(first.prompt_tokens_details!.cached_tokens).toBe(0);
    expect(second.prompt_tokens_details!.cached_tokens!).toBeGreaterThan(0);
    expect(second.prompt_tokens_details!.cached_tokens!).toBeLessThan(second.prompt_tokens);
  });

  test("a deadline that passes is a 504", async () => {
    const slow = openai.completions.create(
      { model: base, prompt, max_tokens: 200, n: 8, ...{ ignore_eos: true } },
      { headers: { "x-request-timeout-ms": "1" } },
    );
    const error = await slow.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ status: 504 });
  });

  test("a client that leaves frees its pages, streaming or not", async () => {
    for (const stream of [true, false]) {
      const controller = new AbortController();
      const response = fetch(`${server.url}/v1/completions`, {
        method: "POST",
        body: JSON.stringify({ model: base, prompt, max_tokens: 200, ignore_eos: true, n: 4, stream }),
        signal: controller.signal,
      });
      response.catch(() => undefined);
      if (stream) await (await response).body!.getReader().read();
      else await until(async () => (await server.engine.stats()).running > 0, "the request runs");
      controller.abort();
      await until(async () => {
        const { running, waiting, kvPagesUsed } = await server.engine.stats();
        return running + waiting + kvPagesUsed === 0;
      }, "its pages are free");
    }
  });
});

test("texts that are no Unicode, and numbers at their ends, never give a 5xx", async () => {
  const odd = ["\ud800", "a\udc00b", "\u0000", "\ufeff", "𐀀\ud83d", "x".repeat(20_000), "</s><s>", "\u202e"];
  const numbers = [
    { temperature: 5e-324 },
    { temperature: 1e-30, top_k: 1_000_000, top_p: 1e-300 },
    { repetition_penalty: 1e300 },
    { repetition_penalty: 1e-300 },
    { min_p: 1, top_p: 1e-9 },
    { seed: Number.MAX_SAFE_INTEGER },
    { seed: Number.MIN_SAFE_INTEGER },
    { top_k: Number.MAX_SAFE_INTEGER },
    { logit_bias: { "000": 1, "1e3": 2, " 1": 3, "-1": 0 } },
  ];
  const bodies = [
    ...odd.flatMap((text) => [
      { prompt: text },
      { model: text },
      { stop: text },
      { stop: [text, ""] },
      { logit_bias: { [text]: 1 } },
      { user: text },
    ]),
    ...numbers,
  ];
  for (const [path, own] of [
    ["completions", (text: unknown) => ({ prompt: text ?? "Tom" })],
    ["chat/completions", (text: unknown) => ({ messages: [{ role: "user", content: text ?? "Tom" }] })],
  ] as const)
    for (const body of bodies) {
      const given = { model: base, max_tokens: 2, ...own("prompt" in body ? body.prompt : undefined), ...body };
      const response = await fetch(`${server.url}/v1/${path}`, { method: "POST", body: JSON.stringify(given) });
      const text = await response.text();
      if (response.status >= 500)
        throw new Error(`${path} ${JSON.stringify(body).slice(0, 200)}: ${response.status} ${text}`);
      JSON.parse(text);
    }
});
