/** What completions answer, with an engine whose tokens and numbers are known. */
import { expect, test } from "bun:test";
import { ConfigError } from "@graft/core/errors";
import { loadTokenizer } from "@graft/core/text";
import { join, resolve } from "node:path";
import {
  appThatAnswers,
  chunksOf,
  complete,
  type Completion,
  EOS,
  microTokenizer as tokenizer,
} from "./known-engine.ts";
import { until } from "./shared.ts";

const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });

test("the end token has its entry behind the answer's, and shows no text", async () => {
  const app = appThatAnswers({ answer: [40, EOS, 41] });
  const length = encode("Tom has").length;
  for (const echo of [true, false]) {
    const { choices, usage } = await complete(app, { echo, logprobs: 1, max_tokens: 5 });
    const { logprobs, text, finish_reason } = choices[0]!;
    expect([text, finish_reason]).toEqual([(echo ? "Tom has" : "") + tokenizer.decode([40]), "stop"]);
    expect(logprobs!.tokens.length).toBe((echo ? length : 0) + 2);
    expect([logprobs!.tokens.at(-1), logprobs!.token_logprobs.at(-1)]).toEqual(["</s>", -EOS]);
    expect(usage).toMatchObject({ prompt_tokens: length, completion_tokens: 1, total_tokens: length + 1 });
  }
  // Who scores a text asks for one token beyond it.
  const scored = await complete(appThatAnswers({ answer: [EOS] }), { echo: true, logprobs: 1, max_tokens: 1 });
  expect(scored.choices[0]!.logprobs!.tokens.length).toBe(length + 1);
  expect(scored.usage).toMatchObject({ completion_tokens: 0 });
});

test("a token stands among its alternatives with the same number, and the likeliest of one text stays", async () => {
  // Bytes of which no character can be made alone have one text, U+FFFD.
  const byte = (value: number) =>
    [...Array.from({ length: 512 }).keys()].find((id) => tokenizer.bytesOf(id)?.join() === String(value))!;
  const [a, b] = [byte(0xe2), byte(0xf0)];
  const top = [
    { id: a, logprob: -0.25 },
    { id: 40, logprob: -0.5 },
    { id: b, logprob: -9 },
  ];
  const ask = { logprobs: 3, max_tokens: 1 };
  const [own] = (await complete(appThatAnswers({ answer: [41], top }), ask)).choices[0]!.logprobs!.top_logprobs;
  const name = (id: number) => tokenizer.decode([id], { isContinuation: true });
  expect(own).toEqual({ "\uFFFD": -0.25, [name(40)]: -0.5, [name(41)]: -41 });
  // It is not the likeliest, though its text is: who compares the two numbers must see that.
  const { logprobs } = (await complete(appThatAnswers({ answer: [b], top }), ask)).choices[0]!;
  expect(logprobs!.token_logprobs).toEqual([-b]);
  expect(logprobs!.top_logprobs).toEqual([{ "\uFFFD": -0.25, [name(40)]: -0.5 }]);
  const none = await complete(appThatAnswers({ answer: [41] }), { logprobs: 0, max_tokens: 1 });
  expect(none.choices[0]!.logprobs!.top_logprobs).toEqual([{ [name(41)]: -41 }]);
});

test("text_offset is where a token begins in the text, in code points", async () => {
  const prompt = "A 🐦 café";
  const answer = encode(" is 🐦.").slice(1);
  const { text, logprobs } = (
    await complete(appThatAnswers({ answer }), { prompt, echo: true, logprobs: 0, max_tokens: answer.length })
  ).choices[0]!;
  expect(text).toBe("A 🐦 café is 🐦.");
  const characters = [...text];
  const { tokens, text_offset } = logprobs!;
  expect(tokens[0]).toBe("<s>");
  expect(text_offset.slice(0, 2)).toEqual([0, 0]);
  for (const [i, token] of tokens.entries()) {
    const slice = characters.slice(text_offset[i], text_offset[i]! + [...token].length).join("");
    if (i > 0 && !token.includes("\uFFFD")) expect(slice).toBe(token);
  }
  const bird = characters.indexOf("🐦");
  expect(text_offset.filter((at) => at === bird).length).toBe(
    tokenizer.encode("🐦", { addSpecialTokens: false }).length,
  );
  const alone = (await complete(appThatAnswers({ answer }), { prompt, logprobs: 0, max_tokens: answer.length }))
    .choices[0]!.logprobs!;
  expect(alone.text_offset[0]).toBe(0);
});

test("a stream says what the answer without it says: echo, log-probabilities, offsets, usage, each copy", async () => {
  const answer = encode(" 5 apples").slice(1);
  for (const more of [
    { echo: true },
    { echo: true, logprobs: 1, max_tokens: 3 },
    { logprobs: 2, n: 2 },
    { echo: true, logprobs: 0, n: 2, prompt: ["Tom", "Ana has"] },
  ]) {
    const whole = await complete(appThatAnswers({ answer }), more);
    const { text } = await appThatAnswers({ answer }).post("/v1/completions", {
      model: "tiny",
      prompt: "Tom has",
      ...more,
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = chunksOf<Completion>(text);
    expect(chunks.at(-1)!.usage).toEqual(whole.usage);
    for (const choice of whole.choices) {
      const own = chunks.flatMap(({ choices }) => choices.filter(({ index }) => index === choice.index));
      expect(own.map((part) => part.text).join("")).toBe(choice.text);
      expect(own.at(-1)!.finish_reason).toBe(choice.finish_reason);
      const lists = own.flatMap(({ logprobs }) => logprobs ?? []);
      expect(lists.length > 0).toBe(choice.logprobs !== null);
      for (const list of choice.logprobs ? (["tokens", "token_logprobs", "top_logprobs", "text_offset"] as const) : [])
        expect(lists.flatMap((part) => part[list] as unknown[])).toEqual(choice.logprobs![list]);
    }
  }
  const end = await appThatAnswers({ answer: [EOS] }).post("/v1/completions", {
    model: "tiny",
    prompt: "Tom",
    max_tokens: 1,
    logprobs: 0,
    stream: true,
  });
  expect(end.text).toContain('"tokens":["</s>"]');
  expect(end.text).toContain('"finish_reason":"stop"');
});

test("best_of gives the n answers of the highest mean log-probability, and counts all", async () => {
  // Of each prompt: means of -9, -4.5 (with the end token: (-7 - 2) / 2), -20, -6.
  const answers = [[9], [7, EOS], [20, 20], [6, 6, 6]];
  const app = appThatAnswers({ answer: ({ requestId }) => answers[Number(requestId.split("-").at(-1))]! });
  const { choices, usage } = await complete(app, { prompt: ["Tom", "Ana"], n: 2, best_of: 4, max_tokens: 3 });
  const text = (ids: number[]) => tokenizer.decode(ids);
  expect(choices.map((choice) => [choice.index, choice.text, choice.logprobs])).toEqual([
    [0, text([7]), null],
    [1, text([6, 6, 6]), null],
    [2, text([7]), null],
    [3, text([6, 6, 6]), null],
  ]);
  expect(usage).toMatchObject({ completion_tokens: 2 * 7 });
  // As many as are given out: there is nothing to choose, and nothing is asked for.
  const plain = appThatAnswers({ answer: [9] });
  await complete(plain, { n: 2, best_of: 2 });
  expect(plain.asked.map(({ logprobs }) => logprobs)).toEqual([undefined, undefined]);
});

test("usage counts each prompt once, its cached tokens, and goes to the key's account", async () => {
  for (const stream of [false, true]) {
    const app = appThatAnswers({ answer: [40, 41] });
    const body = { model: "tiny", prompt: ["Tom", "Ana has"], n: 3, stream, stream_options: { include_usage: true } };
    const { text } = await app.post("/v1/completions", body);
    const { usage } = stream ? chunksOf<Completion>(text).at(-1)! : (JSON.parse(text) as Completion);
    const prompt = encode("Tom").length + encode("Ana has").length;
    expect(usage).toEqual({
      prompt_tokens: prompt,
      completion_tokens: 12,
      total_tokens: prompt + 12,
      prompt_tokens_details: { cached_tokens: 2, audio_tokens: 0 },
      completion_tokens_details: {
        reasoning_tokens: 0,
        accepted_prediction_tokens: 0,
        rejected_prediction_tokens: 0,
        audio_tokens: 0,
      },
    });
    expect(app.spent).toEqual([prompt + 12]);
  }
});

test("chunks carry usage as they are asked to", async () => {
  const app = appThatAnswers({ answer: [40, 41] });
  const usages = async (stream_options: object | undefined) => {
    const { text } = await app.post("/v1/completions", { model: "tiny", prompt: "Tom", stream: true, stream_options });
    return chunksOf<{ usage?: { completion_tokens: number } | null }>(text).map(
      ({ usage }) => usage?.completion_tokens ?? usage,
    );
  };
  expect(await usages(undefined)).toEqual([undefined, undefined, undefined]);
  expect(await usages({ include_usage: true })).toEqual([null, null, null, 2]);
  expect(await usages({ include_usage: true, continuous_usage_stats: true })).toEqual([1, 2, 2, 2]);
});

test("an answer behind its echoed prompt keeps the blank that SentencePiece's decoder takes", async () => {
  const llama = loadTokenizer(
    join(resolve(import.meta.dir, "../../.."), "packages/core/test/fixtures/tokenizers/llama"),
  );
  const whole = llama.encode("Tom has 3 apples", { addSpecialTokens: true });
  const cut = llama.encode("Tom has", { addSpecialTokens: true }).length;
  const [promptIds, answer] = [whole.slice(0, cut), whole.slice(cut)];
  expect(llama.decode(whole)).not.toBe(llama.decode(promptIds) + llama.decode(answer));
  const ask = { prompt: promptIds, max_tokens: answer.length, logprobs: 0 };
  for (const echo of [true, false]) {
    const app = () => appThatAnswers({ answer, tokenizer: llama });
    const { text, logprobs } = (await complete(app(), { ...ask, echo })).choices[0]!;
    expect(text).toBe(echo ? llama.decode(whole) : llama.decode(answer));
    const streamed = await app().post("/v1/completions", { model: "tiny", ...ask, echo, stream: true });
    expect(
      chunksOf<Completion>(streamed.text)
        .map((chunk) => chunk.choices[0]!.text)
        .join(""),
    ).toBe(text);
    if (!echo) continue;
    for (const [i, token] of logprobs!.tokens.entries())
      if (i > 1) expect(text.slice(logprobs!.text_offset[i])).toStartWith(token);
  }
  // Nothing visible stands before it.
  const alone = await complete(appThatAnswers({ answer, tokenizer: llama }), { prompt: [llama.bosId], echo: true });
  expect(alone.choices[0]!.text).toBe(llama.decode(answer));
});

/** Resolves when the engine has been told to stop, with how many tokens were then accounted for. */
const leave = async (stream: boolean): Promise<readonly number[]> => {
  const app = appThatAnswers({ answer: [40, 41], hangs: true });
  const controller = new AbortController();
  const answer = app.app.request("/v1/completions", {
    method: "POST",
    body: JSON.stringify({ model: "tiny", prompt: "Tom", stream }),
    signal: controller.signal,
  });
  if (stream) {
    const reader = (await answer).body!.getReader();
    await reader.read();
    await reader.cancel();
  } else {
    await until(() => app.asked.length === 1, "the request has arrived");
    controller.abort();
    expect((await answer).status).toBe(499);
  }
  await until(() => app.spent.length === 1, "the engine has stopped");
  return app.spent;
};

test("a client that leaves stops the engine, and pays for the tokens there were", async () => {
  const prompt = encode("Tom").length;
  expect(await leave(false)).toEqual([prompt + 2]);
  expect(await leave(true)).toEqual([prompt + 2]);
});

test("one choice that fails ends the others; in a stream it is the last event", async () => {
  const app = appThatAnswers({
    answer({ requestId }) {
      if (requestId.endsWith("-1")) throw new ConfigError("broken");
      return [40, 41];
    },
    hangs: true,
  });
  const whole = await app.post("/v1/completions", { model: "tiny", prompt: "Tom", n: 2 });
  expect([whole.status, whole.text]).toEqual([400, expect.stringContaining("broken")]);
  const late = appThatAnswers({ answer: [40, 41], endError: new ConfigError("broken") });
  const { status, text } = await late.post("/v1/completions", { model: "tiny", prompt: "Tom", stream: true });
  const events = text.trim().split("\n\n");
  expect([status, events.length, events.at(-1)]).toEqual([
    200,
    3,
    'data: {"error":{"message":"broken","type":"invalid_request_error","param":null,"code":null}}',
  ]);
  expect(late.spent).toEqual([encode("Tom").length + 2]);
});
