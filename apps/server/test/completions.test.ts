/** What completions and the tokenizer's routes answer, with an engine whose numbers are known. */
import { expect, test } from "bun:test";
import type { Engine, EngineEvent, EngineRequest, TokenLogprob } from "@graft/core/engine";
import { loadTokenizer } from "@graft/core/text";
import { createApp, Store } from "../src/index.ts";
import { microModel } from "./in-process.ts";

const tokenizer = loadTokenizer(microModel);
const EOS = 2;
const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });

/** Gives the tokens of `answer`, each token with the log-probability -id, beside the alternatives of `top`. */
function appThatAnswers(answer: readonly number[], top: TokenLogprob["top"] = []) {
  const asked: EngineRequest[] = [];
  const engine = {
    info: {
      modelPath: microModel,
      modelType: "llama",
      vocabSize: 512,
      maxLength: 64,
      eosTokenIds: [EOS],
      device: "none",
    },
    adapters: () => [
      { name: "prefix", version: "v", path: "/p", method: "prefix", parameters: 1, bytes: 4, virtualTokens: 10 },
    ],
    async *generate(request: EngineRequest): AsyncGenerator<EngineEvent> {
      asked.push(request);
      const entry = (id: number): TokenLogprob => ({ id, logprob: -id, top });
      const stops = new Set(request.eosTokenIds ?? [EOS]);
      const text = tokenizer.streamDecoder();
      if (request.promptLogprobs)
        yield { type: "prompt", logprobs: request.promptIds.map((id, i) => (i === 0 ? null : entry(id))) };
      for (const id of answer.slice(0, request.maxNewTokens)) {
        if (stops.has(id)) return yield { type: "finish", reason: "stop", text: "" };
        yield {
          type: "token",
          id,
          text: text.push(id),
          ...(request.logprobs === undefined ? {} : { logprob: entry(id) }),
        };
      }
      yield { type: "finish", reason: "length", text: "" };
    },
  };
  const app = createApp({
    engine: engine as unknown as Engine,
    tokenizer,
    store: new Store(":memory:"),
    modelName: "tiny",
    apiKey: undefined,
    bodyLimit: 2 ** 20,
    now: () => new Date(0),
    newId: (prefix) => `${prefix}-1`,
  });
  const post = async (path: string, body: object) => {
    const response = await app.request(path, { method: "POST", body: JSON.stringify(body) });
    return { status: response.status, text: await response.text() };
  };
  return { app, asked, post };
}

interface Completion {
  readonly choices: {
    readonly index: number;
    readonly text: string;
    readonly finish_reason: string | null;
    readonly logprobs: {
      readonly tokens: string[];
      readonly token_logprobs: (number | null)[];
      readonly top_logprobs: (Record<string, number> | null)[];
      readonly text_offset: number[];
    } | null;
  }[];
  readonly usage: object;
}
async function complete(app: ReturnType<typeof appThatAnswers>, more: object): Promise<Completion> {
  const { status, text } = await app.post("/v1/completions", { model: "tiny", prompt: "Tom has", ...more });
  if (status !== 200) throw new Error(text);
  return JSON.parse(text) as Completion;
}

test("the end token has its entry where one scored token beyond the prompt is asked for, and shows no text", async () => {
  const app = appThatAnswers([EOS, 40]);
  const length = encode("Tom has").length;
  for (const echo of [true, false]) {
    const { choices, usage } = await complete(app, { echo, logprobs: 1, max_tokens: 1 });
    const { logprobs, text, finish_reason } = choices[0]!;
    expect([text, finish_reason]).toEqual([echo ? "Tom has" : "", "stop"]);
    expect(logprobs!.tokens.length).toBe((echo ? length : 0) + 1);
    expect([logprobs!.tokens.at(-1), logprobs!.token_logprobs.at(-1)]).toEqual(["</s>", -EOS]);
    expect(usage).toEqual({ prompt_tokens: length, completion_tokens: 1, total_tokens: length + 1 });
  }
  // Without log-probabilities, and where more is asked for, it ends the answer as always.
  expect((await complete(app, { max_tokens: 1 })).usage).toMatchObject({ completion_tokens: 0 });
  expect((await complete(app, { max_tokens: 2, logprobs: 1 })).choices[0]).toMatchObject({
    text: "",
    finish_reason: "stop",
  });
  expect(app.asked.map(({ eosTokenIds }) => eosTokenIds)).toEqual([[], [], undefined, undefined]);
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
  const [own] = (await complete(appThatAnswers([41], top), ask)).choices[0]!.logprobs!.top_logprobs;
  const name = (id: number) => tokenizer.decode([id], { isContinuation: true });
  expect(own).toEqual({ "\uFFFD": -0.25, [name(40)]: -0.5, [name(41)]: -41 });
  // It is not the likeliest, though its text is: who compares the two numbers must see that.
  const { logprobs } = (await complete(appThatAnswers([b], top), ask)).choices[0]!;
  expect(logprobs!.token_logprobs).toEqual([-b]);
  expect(logprobs!.top_logprobs).toEqual([{ "\uFFFD": -0.25, [name(40)]: -0.5 }]);
  const none = await complete(appThatAnswers([41], []), { logprobs: 0, max_tokens: 1 });
  expect(none.choices[0]!.logprobs!.top_logprobs).toEqual([{ [name(41)]: -41 }]);
});

test("text_offset is where a token begins in the text, in code points", async () => {
  const prompt = "A 🐦 café";
  const answer = encode(" is 🐦.").slice(1);
  const { text, logprobs } = (
    await complete(appThatAnswers(answer), { prompt, echo: true, logprobs: 0, max_tokens: answer.length })
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
  const alone = (await complete(appThatAnswers(answer), { prompt, logprobs: 0, max_tokens: answer.length })).choices[0]!
    .logprobs!;
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
    const whole = await complete(appThatAnswers(answer), more);
    const { text } = await appThatAnswers(answer).post("/v1/completions", {
      model: "tiny",
      prompt: "Tom has",
      ...more,
      stream: true,
      stream_options: { include_usage: true },
    });
    const events = text
      .trim()
      .split("\n\n")
      .map((line) => line.replace(/^data: /, ""));
    expect(events.pop()).toBe("[DONE]");
    const chunks = events.map((line) => JSON.parse(line) as Completion);
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
  const end = await appThatAnswers([EOS]).post("/v1/completions", {
    model: "tiny",
    prompt: "Tom",
    max_tokens: 1,
    logprobs: 0,
    stream: true,
  });
  expect(end.text).toContain('"tokens":["</s>"]');
  expect(end.text).toContain('"finish_reason":"stop"');
});

test("what would change the answer and is not there is refused, and its harmless value is not", async () => {
  const app = appThatAnswers([40]);
  const cases = {
    use_beam_search: [true, false],
    num_beams: [4, 1],
    frequency_penalty: [0.5, 0],
    presence_penalty: [1, 0],
    logit_bias: [{ 50: 1 }, {}],
  };
  for (const [field, [bad, good]] of Object.entries(cases)) {
    for (const [path, prompt] of [
      ["/v1/completions", { prompt: "x" }],
      ["/v1/chat/completions", { messages: [{ role: "user", content: "x" }] }],
    ] as const) {
      const refused = await app.post(path, { model: "tiny", ...prompt, [field]: bad });
      expect([path, refused.status]).toEqual([path, 400]);
      expect((JSON.parse(refused.text) as { error: { message: string } }).error.message).toStartWith(`${field}: `);
      for (const value of [good, null])
        expect((await app.post(path, { model: "tiny", ...prompt, [field]: value })).status).toBe(200);
    }
  }
});

test("text goes with special tokens or, where it says so, without", async () => {
  const app = appThatAnswers([40]);
  for (const add_special_tokens of [undefined, null, true, false]) await complete(app, { add_special_tokens });
  await complete(app, { prompt: [40, 41] });
  expect(app.asked.map(({ promptIds }) => promptIds[0] === 1)).toEqual([true, true, true, false, false]);
});

test("the tokenizer is described, counts what a model has room for, and keeps special tokens both ways", async () => {
  const app = appThatAnswers([]);
  const info = (await (await app.app.request("/tokenizer_info")).json()) as Record<string, unknown>;
  expect(info).toEqual({
    bos_token: "<s>",
    eos_token: "</s>",
    pad_token: "<pad>",
    unk_token: "<unk>",
    model_max_length: 64,
    chat_template: tokenizer.chatTemplate,
  });
  const tokenize = async (body: object) =>
    JSON.parse((await app.post("/tokenize", body)).text) as Record<string, unknown>;
  expect(await tokenize({ prompt: "</s>", add_special_tokens: false })).toEqual({
    count: 1,
    max_model_len: 64,
    tokens: [EOS],
  });
  expect(await tokenize({ prompt: "Tom", model: "tiny" })).toMatchObject({ tokens: encode("Tom"), max_model_len: 64 });
  expect(await tokenize({ prompt: "Tom", model: "prefix" })).toMatchObject({ max_model_len: 54 });
  expect(await tokenize({ prompt: "A", return_token_strs: true })).toMatchObject({
    token_strs: encode("A").map((id) => tokenizer.tokenOf(id)),
  });
  expect((await app.post("/tokenize", { prompt: "Tom", model: "nobody" })).status).toBe(404);
  const ids = [...encode("A 🐦 café\n has  blanks"), EOS];
  const { prompt } = JSON.parse((await app.post("/detokenize", { tokens: ids })).text) as { prompt: string };
  expect(prompt).toBe("<s>A 🐦 café\n has  blanks</s>");
  expect((await tokenize({ prompt, add_special_tokens: false })).tokens).toEqual(ids);
  const bad = await app.post("/detokenize", { tokens: [1, 512] });
  expect([bad.status, bad.text]).toEqual([
    400,
    expect.stringContaining("tokens: id 512 is outside the vocabulary of 512"),
  ]);
  expect((await app.post("/detokenize", { tokens: [-1] })).status).toBe(400);
});
