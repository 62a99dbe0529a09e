/** Fields of completions: those that reach the engine, and those that are refused. */
import { expect, test } from "bun:test";
import { ConfigError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { chatRequest } from "../src/inference/chat-schema.ts";
import { completionRequest } from "../src/inference/completion-schema.ts";
import { appThatAnswers, complete, EOS, microTokenizer as tokenizer } from "./known-engine.ts";

const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: true });

test("what would change the answer and is not there is refused, and its harmless value is not", async () => {
  const app = appThatAnswers({ answer: [40] });
  const cases = {
    use_beam_search: [true, false],
    num_beams: [4, 1],
    min_tokens: [3, 0],
    skip_special_tokens: [false, true],
    include_stop_str_in_output: [true, false],
    truncate_prompt_tokens: [5, null],
    guided_regex: ["a+", null],
    guided_choice: [["a"], null],
    guided_grammar: ["root ::= a", null],
    structured_outputs: [{ regex: "a" }, null],
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

test("fields reach the engine", async () => {
  const app = appThatAnswers({ answer: [40] });
  await complete(app, {
    temperature: 0.5,
    top_p: 0.9,
    top_k: -1,
    min_p: 0.1,
    repetition_penalty: 1.2,
    frequency_penalty: -2,
    presence_penalty: 1.5,
    logit_bias: { 7: -100, 511: 2.5 },
    stop: "x",
    seed: -3,
    model: "prefix",
    user: "somebody",
    unknown_field: { a: 1 },
  });
  await complete(app, { ignore_eos: true, logit_bias: {}, stop: ["a", "b"], seed: 2 ** 40 });
  await complete(app, { stop_token_ids: [5, 6], seed: 2 ** 40, n: 2 });
  await complete(app, { ignore_eos: true, stop_token_ids: [7] });
  const [one, two, three, copy, four] = app.asked;
  expect(one).toEqual({
    requestId: "cmpl-1-0-0",
    promptIds: encode("Tom has"),
    maxNewTokens: 16,
    adapter: "prefix",
    temperature: 0.5,
    topP: 0.9,
    topK: 0,
    minP: 0.1,
    repetitionPenalty: 1.2,
    frequencyPenalty: -2,
    presencePenalty: 1.5,
    logitBias: { 7: -100, 511: 2.5 },
    stop: ["x"],
    seed: 2 ** 32 - 3,
  });
  expect(two).toMatchObject({ temperature: 1, eosTokenIds: [], stop: ["a", "b"] });
  expect(two).not.toHaveProperty("logitBias");
  expect(three).toMatchObject({ eosTokenIds: [EOS, 5, 6], seed: two!.seed });
  expect(copy!.seed).not.toBe(three!.seed);
  expect(four).toMatchObject({ eosTokenIds: [7] });
});

test("a value that does not fit is a 400 that names its field", async () => {
  const app = appThatAnswers({ answer: [40] });
  const cases: readonly (readonly [object, string, string])[] = [
    [{ prompt: 5 }, "prompt", "must be a text, texts, token ids"],
    [{ prompt: [] }, "prompt", "must be a text"],
    [{ prompt: [1, "a"] }, "prompt", "must be a text"],
    [{ prompt: [1.5] }, "prompt", "must be a text"],
    [{ prompt: [-1] }, "prompt.0", ""],
    [{ prompt: [512] }, "prompt", "token id 512 is outside the vocabulary of 512"],
    [{ prompt: "a ".repeat(60) }, "prompt", "maximum context length is 64 tokens"],
    [{ prompt: Array.from({ length: 70 }, () => "a"), n: 32 }, "prompt", "2240 answers in one request"],
    [{ max_tokens: -1 }, "max_tokens", ""],
    [{ max_tokens: 1.5 }, "max_tokens", ""],
    [{ max_tokens: "3" }, "max_tokens", ""],
    [{ temperature: 2.1 }, "temperature", ""],
    [{ top_p: 0 }, "top_p", ""],
    [{ min_p: 2 }, "min_p", ""],
    [{ top_k: -2 }, "top_k", ""],
    [{ repetition_penalty: 0 }, "repetition_penalty", ""],
    [{ frequency_penalty: 2.1 }, "frequency_penalty", ""],
    [{ presence_penalty: -2.1 }, "presence_penalty", ""],
    [
      { logit_bias: { 512: 1, 7: 1, x: 2 } },
      "logit_bias",
      "512, x: not token ids of this model, whose vocabulary has 512",
    ],
    [{ logit_bias: { 7: 101 } }, "logit_bias.7", ""],
    [{ logit_bias: [1] }, "logit_bias", ""],
    [{ stop_token_ids: [600] }, "stop_token_ids", "600: not token ids"],
    [{ stop: [1] }, "stop", "must be a text or a list of at most 16 texts"],
    [{ stop: Array.from({ length: 17 }, () => "x") }, "stop", "at most 16"],
    [{ n: 0 }, "n", ""],
    [{ best_of: 1, n: 2 }, "best_of", "1 is less than n, which is 2"],
    [{ best_of: 2, stream: true }, "best_of", "cannot be streamed"],
    [{ logprobs: 21 }, "logprobs", ""],
    [{ logprobs: true }, "logprobs", ""],
    [{ echo: "yes" }, "echo", ""],
    [{ seed: 0.5 }, "seed", ""],
    [{ stream: 1 }, "stream", ""],
    [{ stream_options: { include_usage: 1 } }, "stream_options.include_usage", ""],
    [{ suffix: "end" }, "suffix", "is not offered"],
    [{ response_format: { type: "xml" } }, "response_format.type", ""],
    [{ response_format: { type: "json_schema" } }, "response_format.json_schema", ""],
    [{ guided_json: "{" }, "guided_json", "is not JSON"],
    [{ guided_json: {}, response_format: { type: "json_object" } }, "guided_json", "response_format says"],
  ];
  for (const [more, param, message] of cases) {
    const { status, text } = await app.post("/v1/completions", { model: "tiny", prompt: "Tom", ...more });
    const { error } = JSON.parse(text) as { error: { message: string; param: string; type: string } };
    expect([more, status, error.param, error.type]).toEqual([more, 400, param, "invalid_request_error"]);
    expect(error.message).toContain(message);
    expect(error.message).toContain(param === "prompt" && message.startsWith("maximum") ? "" : `${param}: `);
  }
  expect(app.asked).toEqual([]);
});

test("JSON is a constraint of the engine's, and one that cannot be kept names the field", async () => {
  const schema = { type: "object", properties: { a: { type: "integer" } } };
  const app = appThatAnswers({ answer: [40] });
  const named = { type: "json_schema", json_schema: { name: "n", schema } };
  for (const more of [
    { response_format: { type: "text" } },
    { response_format: { type: "json_object" } },
    { response_format: named },
    { response_format: { type: "json_schema", json_schema: { name: "n" } } },
    { guided_json: schema },
    { guided_json: JSON.stringify(schema) },
  ])
    await complete(app, more);
  const json = { type: "json_schema" as const, schema };
  expect(app.asked.map(({ constraint }) => constraint)).toEqual([
    undefined,
    { type: "json_object" },
    json,
    { type: "json_object" },
    json,
    json,
  ]);
  const error = new ConfigError("$.properties.a.pattern is not supported");
  for (const stream of [false, true]) {
    const refused = await appThatAnswers({ answer: [], error }).post("/v1/completions", {
      model: "tiny",
      prompt: "x",
      response_format: named,
      stream,
    });
    expect([refused.status, JSON.parse(refused.text)]).toEqual([
      400,
      {
        error: {
          message: "response_format: $.properties.a.pattern is not supported",
          type: "invalid_request_error",
          param: "response_format",
          code: null,
        },
      },
    ]);
  }
});

test("a deadline comes in a header and goes to the engine", async () => {
  const app = appThatAnswers({ answer: [40] });
  const send = (value: string) =>
    app.post("/v1/completions", { model: "tiny", prompt: "x" }, { "x-request-timeout-ms": value });
  expect((await send("1500")).status).toBe(200);
  expect(app.asked[0]).toMatchObject({ deadlineMs: 1500 });
  for (const bad of ["0", "-1", "1.5", "soon", "9999999999"]) {
    const { status, text } = await send(bad);
    expect([status, text]).toEqual([
      400,
      expect.stringContaining(`x-request-timeout-ms: must be a whole number of milliseconds, got \\"${bad}\\"`),
    ]);
  }
});

test("text goes with special tokens or, where it says so, without", async () => {
  const app = appThatAnswers({ answer: [40] });
  for (const add_special_tokens of [undefined, null, true, false]) await complete(app, { add_special_tokens });
  await complete(app, { prompt: [40, 41] });
  expect(app.asked.map(({ promptIds }) => promptIds[0] === 1)).toEqual([true, true, true, false, false]);
});

test("random values in random fields never give a 5xx", async () => {
  const app = appThatAnswers({ answer: [40, 41, EOS], maxLength: 1 << 20 });
  const fields = {
    completions: {
      ...Object.fromEntries(Object.keys(completionRequest.shape).map((name) => [name, undefined])),
      prompt: "Tom",
    },
    "chat/completions": {
      ...Object.fromEntries(Object.keys(chatRequest.shape).map((name) => [name, undefined])),
      messages: [{ role: "user", content: "Tom" }],
    },
    "../tokenize": { prompt: "Tom", messages: undefined, tools: undefined, chat_template_kwargs: undefined },
    "../detokenize": { tokens: [1, 2] },
  };
  const junk: readonly unknown[] = [
    null,
    true,
    -1,
    0,
    1,
    1.5,
    1e308,
    2 ** 53,
    "",
    "x",
    "\ud800",
    "auto",
    "required",
    [],
    [1],
    [[]],
    [[2, 3]],
    ["a", 1],
    {},
    { type: "json_object" },
    { type: "json_schema", json_schema: { name: "x", schema: { $ref: "#" } } },
    { type: "function", function: { name: "f" } },
    [{ type: "function", function: { name: "f", parameters: { $defs: 3, properties: [] } } }],
    [{ role: "assistant", content: null, tool_calls: [{ function: { name: "f", arguments: "[1" } }] }],
    [{ role: "user", content: [{ type: "text", text: "x" }, 5] }],
    { include_usage: true, continuous_usage_stats: true },
    { messages: 1, tools: "x", range: 2, raise_exception: 3 },
    JSON.parse('{"__proto__": 1, "constructor": 2, "7": 3}'),
  ];
  const statuses = new Map<number, number>();
  for (let seed = 0; seed < 1500; seed++) {
    const random = new Random(seed);
    const [path, own] = Object.entries(fields)[random.int(4)]!;
    const names = Object.keys(own);
    const body: Record<string, unknown> = { ...own, model: "tiny" };
    for (let i = 0; i <= random.int(2); i++) body[names[random.int(names.length)]!] = junk[random.int(junk.length)];
    const { status, text } = await app.post(
      `/v1/${path}`,
      body,
      random.int(9) === 0 ? { "x-request-timeout-ms": "x" } : {},
    );
    if (status >= 500 || text.includes("server_error"))
      throw new Error(`seed ${seed}: ${path} ${JSON.stringify(body)} gave ${status} ${text}`);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  // Both ways are taken.
  expect(statuses.get(200)).toBeGreaterThan(50);
  expect(statuses.get(400)).toBeGreaterThan(300);
});
