import { afterAll, beforeEach, expect, test } from "bun:test";
import { ConfigError } from "@graft/core/errors";
import { Random } from "@graft/core/random";
import { EndpointError } from "./endpoint-client.ts";
import { endpointModel, type EndpointModelOptions } from "./endpoint-model.ts";

type Body = Readonly<Record<string, unknown>>;
type Handler = (path: string, body: Body, request: Request) => Response | Promise<Response>;

/** What was asked, in order, and what is answered. */
let asked: { readonly path: string; readonly body: Body; readonly authorization: string | null }[] = [];
let answer: Handler = () => new Response("nothing set", { status: 500 });
const server = Bun.serve({
  port: 0,
  async fetch(request) {
    const path = new URL(request.url).pathname;
    const text = await request.text();
    const body = text === "" ? {} : (JSON.parse(text) as Body);
    asked.push({ path, body, authorization: request.headers.get("authorization") });
    return answer(path, body, request);
  },
});
beforeEach(() => {
  asked = [];
});
afterAll(() => server.stop(true));

const url = `http://127.0.0.1:${server.port}`;
const model = (more: Partial<EndpointModelOptions> = {}) =>
  endpointModel({ url, model: "m", delayMs: () => 0, ...more });
const choice = (text: string, more: object = {}) => ({ index: 0, text, finish_reason: "stop", ...more });
const completion = (...choices: object[]) => Response.json({ choices, usage: { prompt_tokens: 3 } });
const greedy = { prompt: "one two", maxNewTokens: 4 };
/** The error of a call that must fail, and its message. */
async function failure(call: Promise<unknown>): Promise<Error> {
  try {
    await call;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
}

test("each address of a server means the same, and the key goes along", async () => {
  answer = () => completion(choice("x"));
  for (const given of [url, `${url}/`, `${url}/v1/`, `${url}/v1/completions`, `${url}/v1/chat/completions`])
    await model({ url: given, apiKey: "k" }).generate([greedy]);
  expect(asked.map(({ path, authorization }) => [path, authorization])).toEqual(
    Array.from({ length: 5 }, () => ["/v1/completions", "Bearer k"]),
  );
  await model({ url: `${url}/openai/v1beta` }).generate([greedy]);
  expect(asked.at(-1)).toMatchObject({ path: "/openai/v1beta/completions", authorization: null });
  for (const bad of ["nowhere", "ftp://host/v1"]) expect(() => model({ url: bad })).toThrow(ConfigError);
  expect(model().name).toBe(`m at ${url}/v1`);
});

test("sampling goes out under the API's names, and only what was said", async () => {
  answer = () => completion(choice("b", { index: 1, finish_reason: "length" }), choice("a", { finish_reason: "eos" }));
  const [result] = await model().generate([
    {
      prompt: [5, 6],
      maxNewTokens: 9,
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      minP: 0.1,
      repetitionPenalty: 1.1,
      seed: 7,
      stop: ["", "\n"],
      numBeams: 1,
      numReturnSequences: 2,
    },
  ]);
  expect(asked[0]!.body).toEqual({
    model: "m",
    prompt: [5, 6],
    max_tokens: 9,
    temperature: 0.5,
    top_p: 0.9,
    top_k: 40,
    min_p: 0.1,
    repetition_penalty: 1.1,
    seed: 7,
    stop: ["\n"],
    n: 2,
  });
  expect(result).toEqual({
    promptIds: [5, 6],
    cutTokens: 0,
    sequences: [
      { ids: [], text: "a", finishReason: "stop" },
      { ids: [], text: "b", finishReason: "length" },
    ],
  });
  answer = () => completion(choice("x"));
  await model().generate([{ ...greedy, repetitionPenalty: 1, topK: 0, stop: [] }]);
  expect(asked[1]!.body).toEqual({ model: "m", prompt: "one two", max_tokens: 4, temperature: 0 });
});

test("a chat server gets the prompt as one message of the user", async () => {
  answer = () =>
    Response.json({ choices: [{ index: 0, message: { role: "assistant", content: null }, finish_reason: "length" }] });
  const results = await model({ isChat: true }).generate([{ ...greedy, truncation: "left", stop: ["Q"] }]);
  expect(asked).toMatchObject([
    {
      path: "/v1/chat/completions",
      body: { messages: [{ role: "user", content: "one two" }], max_tokens: 4, stop: ["Q"] },
    },
  ]);
  expect(results[0]!.sequences).toEqual([{ ids: [], text: "", finishReason: "length" }]);
  expect(await failure(model({ isChat: true }).generate([{ prompt: [1], maxNewTokens: 1 }]))).toBeInstanceOf(
    ConfigError,
  );
  expect(await failure(model({ isChat: true }).loglikelihood([{ context: "a", continuation: "b" }]))).toBeInstanceOf(
    ConfigError,
  );
});

test("what HTTP does not offer is refused before anything is sent", async () => {
  const cases = [{ numBeams: 4 }, { eosTokenIds: [] }, { noRepeatNgramSize: 3 }, { typicalP: 0.5 }];
  for (const more of cases) {
    const error = await failure(model().generate([greedy, { ...greedy, ...more, name: "gsm8k, 17" }]));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toStartWith("gsm8k, 17: ");
    expect(error.message).toContain("not offered over HTTP");
  }
  expect(asked).toEqual([]);
});

test("a busy server is asked again when it says, and a broken connection too", async () => {
  const attempts: number[] = [];
  const brokenBody = () =>
    new Response(new ReadableStream({ pull: (controller) => controller.error(new Error("reset in the middle")) }));
  const troubles: (() => Response)[] = [
    () => new Response("slow down", { status: 429, headers: { "retry-after": "0" } }),
    () => new Response("starting", { status: 503 }),
    brokenBody,
    () => {
      throw new Error("connection refused");
    },
    () => new Response("gateway", { status: 502 }),
  ];
  let tries = 0;
  answer = () => completion(choice("at last"));
  const [result] = await model({
    delayMs(attempt) {
      attempts.push(attempt);
      return 0;
    },
    fetch: async (request) => troubles[tries++]?.() ?? fetch(request),
  }).generate([greedy]);
  expect(result!.sequences[0]!.text).toBe("at last");
  expect(tries).toBe(6);
  // How long to wait after the first was said by the server.
  expect(attempts).toEqual([2, 3, 4, 5]);
});

test("a request is given up in the end, with what the server said last", async () => {
  answer = () => Response.json({ error: { message: "the queue is full" } }, { status: 429 });
  const error = (await failure(model({ retries: 2 }).generate([greedy]))) as EndpointError;
  expect(error).toBeInstanceOf(EndpointError);
  expect(error.message).toBe(`prompt 0: POST ${url}/v1/completions answered 429: the queue is full`);
  expect([error.status, asked.length]).toEqual([429, 3]);
  const lost = await failure(model({ url: "http://127.0.0.1:1", retries: 1 }).generate([greedy]));
  expect(lost.message).toContain("prompt 0: POST http://127.0.0.1:1/v1/completions cannot be reached: ");
});

test("a mistake is not repeated, and the server's own words are quoted whatever their form", async () => {
  const forms: [unknown, string][] = [
    [{ error: { message: "no such model" } }, "no such model"],
    [{ error: "no such model" }, "no such model"],
    [{ object: "error", message: "no such model", code: 404 }, "no such model"],
    [{ detail: "Not Found" }, "Not Found"],
    [{ detail: [{ loc: ["body", "n"], msg: "too large" }] }, '[{"loc":["body","n"],"msg":"too large"}]'],
    [{ strange: 1 }, '{"strange":1}'],
    ["", "(no text)"],
  ];
  for (const [body, said] of forms) {
    asked = [];
    answer = () => (body === "" ? new Response(null, { status: 400 }) : Response.json(body, { status: 400 }));
    const error = await failure(model().generate([greedy]));
    expect(error.message).toBe(`prompt 0: POST ${url}/v1/completions answered 400: ${said}`);
    expect(asked.length).toBe(1);
  }
  answer = () => new Response(`<html>\n${"x".repeat(900)}</html>`, { status: 401 });
  const error = await failure(model().generate([{ ...greedy, name: "aqua, 3" }]));
  expect(error.message).toStartWith(`aqua, 3: POST ${url}/v1/completions answered 401: <html> xxx`);
  expect(error.message.length).toBeLessThan(400);
});

test("a slow answer is an error, and no more are waited for", async () => {
  answer = () => new Promise<Response>(() => undefined);
  const error = await failure(model({ timeoutMs: 20 }).generate([greedy]));
  expect(error.message).toBe(`prompt 0: POST ${url}/v1/completions gave no answer in time`);
});

test("results come in the order of the requests, at most so many at once, each told when it is there", async () => {
  const waiting: (() => void)[] = [];
  let underWay = 0;
  let most = 0;
  answer = async (_path, { prompt }) => {
    most = Math.max(most, ++underWay);
    // The third request sets the first two free, in the other order.
    if (waiting.push(() => undefined) < 3) await new Promise<void>((go) => void (waiting[waiting.length - 1] = go));
    else for (const go of waiting.toReversed()) go();
    underWay--;
    return completion(choice(`${String(prompt)}!`));
  };
  const told: number[] = [];
  const requests = Array.from({ length: 9 }, (_, i) => ({ ...greedy, prompt: `p${i}` }));
  const results = await model({ concurrency: 3 }).generate(requests, {
    onResult: (i, result) => {
      expect(result.sequences[0]!.text).toBe(`p${i}!`);
      told.push(i);
    },
  });
  expect(results.map(({ sequences }) => sequences[0]!.text)).toEqual(requests.map(({ prompt }) => `${prompt}!`));
  expect(told.toSorted((a, b) => a - b)).toEqual([...requests.keys()]);
  expect(most).toBe(3);
  expect(() => model({ concurrency: 0 })).toThrow("at least 1");
});

test("an abort and a failure end what is under way, and nothing more is asked", async () => {
  const controller = new AbortController();
  answer = () => {
    controller.abort(new Error("the user had enough"));
    return new Promise<Response>(() => undefined);
  };
  const requests = Array.from({ length: 20 }, () => greedy);
  const error = await failure(model({ concurrency: 2 }).generate(requests, { signal: controller.signal }));
  expect(error.message).toBe("the user had enough");
  expect(asked.length).toBeLessThanOrEqual(2);

  // The first may arrive after the second was answered, and one of those above later still: they are told apart by their prompts.
  answer = (_path, { prompt }) =>
    prompt === "bad" ? Response.json({ error: "bad" }, { status: 400 }) : new Promise<Response>(() => undefined);
  const mixed = ["first", "bad", ...requests.map((_, i) => `late ${i}`)].map((prompt) => ({ ...greedy, prompt }));
  expect((await failure(model({ concurrency: 2 }).generate(mixed))).message).toContain("prompt 1: ");
  expect(asked.filter(({ body }) => String(body.prompt).startsWith("late"))).toEqual([]);
});

/** A server whose tokens are characters, with a token 1 before each text, and of which each token k after the first has the log-probability -k / 8. */
function characterServer(more: {
  readonly tokenizes: boolean;
  readonly maxLength?: number;
  readonly bos?: string | null;
}): Handler {
  const encode = (text: string, special: boolean) => [
    ...(special ? [1] : []),
    ...[...text].map((c) => c.codePointAt(0)!),
  ];
  const maxLength = more.maxLength ?? 100;
  return (path, body) => {
    if (path === "/tokenize" && more.tokenizes) {
      const tokens = body.prompt === "<s>" ? [1] : encode(body.prompt as string, body.add_special_tokens as boolean);
      return Response.json({ tokens, count: tokens.length, max_model_len: maxLength });
    }
    if (path === "/tokenizer_info" && more.bos !== undefined)
      return Response.json({ bos_token: more.bos, eos_token: "e" });
    if (path !== "/v1/completions") return Response.json({ detail: "Not Found" }, { status: 404 });
    const ids = typeof body.prompt === "string" ? encode(body.prompt, true) : (body.prompt as number[]);
    const wanted = body.max_tokens as number;
    if (ids.length + wanted > maxLength)
      return Response.json({ error: { message: `${ids.length} + ${wanted} tokens are too many` } }, { status: 400 });
    const numbers = [...ids, ...Array.from({ length: wanted }, () => 0)].map((_, i) => (i === 0 ? null : -i / 8));
    // A likelier token beside each vowel.
    const top = numbers.map((x, i) =>
      x === null ? null : "aeiou".includes(String.fromCodePoint(ids[i] ?? 0)) ? { t: x, u: x / 2 } : { t: x },
    );
    const logprobs = body.echo ? { token_logprobs: numbers, top_logprobs: top } : null;
    return Response.json({
      choices: [{ index: 0, text: "", logprobs, finish_reason: "length" }],
      usage: { prompt_tokens: ids.length },
    });
  };
}
const eighths = (from: number, to: number) =>
  -Array.from({ length: to - from }, (_, i) => from + i).reduce((a, b) => a + b, 0) / 8;

test("a continuation's log-probability is that of its own tokens; blanks before it are its own, with /tokenize and without", async () => {
  for (const tokenizes of [true, false]) {
    asked = [];
    answer = characterServer({ tokenizes });
    const results = await model().loglikelihood([
      { context: "Q: x", continuation: " sky" },
      { context: "Q: x ", continuation: "sky" },
      { context: "Q: x", continuation: " sea" },
      { context: "Q: x", continuation: "" },
    ]);
    // Token 0 stands before the text, 1 to 4 are the context.
    const sum = eighths(5, 9);
    expect(results).toEqual([
      { logprob: sum, tokenCount: 4, isGreedy: true, cutTokens: 0 },
      { logprob: sum, tokenCount: 4, isGreedy: true, cutTokens: 0 },
      { logprob: sum, tokenCount: 4, isGreedy: false, cutTokens: 0 },
      { logprob: 0, tokenCount: 0, isGreedy: true, cutTokens: 0 },
    ]);
    // The context that they share was measured once.
    const measured = asked.filter(({ body }) => body.prompt === "Q: x" && body.echo === undefined);
    expect(measured.length).toBe(1 + (tokenizes ? 1 : 0));
  }
});

test("a text without a context follows what begins a text", async () => {
  const text = [{ context: "", continuation: "sky" }];
  for (const bos of ["<s>", null, undefined]) {
    answer = characterServer({ tokenizes: true, ...(bos === undefined ? {} : { bos }) });
    expect(await model().loglikelihood(text)).toEqual([
      { logprob: eighths(1, 4), tokenCount: 3, isGreedy: true, cutTokens: 0 },
    ]);
    const { prompt } = asked.findLast(({ path }) => path === "/v1/completions")!.body;
    expect((prompt as number[])[0]).toBe(bos === null ? 101 : 1);
  }
  answer = characterServer({ tokenizes: false });
  expect((await failure(model().loglikelihood(text))).message).toContain("prompt 0: has no context");
});

test("what is too long loses its beginning where it may, and is the server's to refuse where not", async () => {
  const long = { prompt: "abcdefghij", maxNewTokens: 3, name: "long" };
  answer = characterServer({ tokenizes: true, maxLength: 8 });
  const [cut] = await model().generate([{ ...long, truncation: "left" }]);
  expect(cut).toMatchObject({ promptIds: [..."fghij"].map((c) => c.codePointAt(0)!), cutTokens: 6 });
  const short = await model().generate([{ prompt: "abc", maxNewTokens: 3, truncation: "left" }]);
  expect(short[0]).toMatchObject({ promptIds: [1, 97, 98, 99], cutTokens: 0 });
  for (const request of [long, { ...long, truncation: "left" as const, maxNewTokens: 8 }])
    expect((await failure(model().generate([request]))).message).toBe(
      `long: POST ${url}/v1/completions answered 400: 11 + ${request.maxNewTokens} tokens are too many`,
    );
  // Eight tokens fill the model: none is asked for beyond them.
  const pair = { context: "abcdefg", continuation: "xyz", truncation: "left" as const };
  expect(await model().loglikelihood([pair])).toEqual([
    { logprob: eighths(5, 8), tokenCount: 3, isGreedy: true, cutTokens: 3 },
  ]);
  // Of a continuation that is longer than the model its end is scored, all but the first token that is left.
  expect(await model().loglikelihood([{ ...pair, continuation: "x".repeat(9) }])).toEqual([
    { logprob: eighths(1, 8), tokenCount: 7, isGreedy: true, cutTokens: 9 },
  ]);
  const refused = await failure(model().loglikelihood([{ context: "abcdefg", continuation: "xyz", name: "pair" }]));
  expect(refused.message).toBe(`pair: POST ${url}/v1/completions answered 400: 11 + 0 tokens are too many`);
  answer = characterServer({ tokenizes: false, maxLength: 8 });
  expect((await failure(model().generate([{ ...long, truncation: "left" }]))).message).toContain("long: ");
});

test("a /tokenize of another kind is none, and one that is busy is an error", async () => {
  const others: (() => Response)[] = [
    () => Response.json({ tokens: [] }),
    () => new Response("Not Found", { status: 404 }),
    () => Response.json({ error: "no" }, { status: 422 }),
  ];
  for (const other of others) {
    const rest = characterServer({ tokenizes: false });
    answer = (path, body, request) => (path === "/tokenize" ? other() : rest(path, body, request));
    const results = await model().generate([{ ...greedy, truncation: "left" }]);
    expect(results).toMatchObject([{ promptIds: [], cutTokens: 0 }]);
  }
  answer = () => new Response("later", { status: 503 });
  expect((await failure(model({ retries: 0 }).loglikelihood([{ context: "a", continuation: "b" }]))).message).toContain(
    "503: later",
  );
});

test("a server without echo cannot score, and says so", async () => {
  const rest = characterServer({ tokenizes: true });
  answer = (path, body, request) => rest(path, { ...body, echo: true, ...(body.echo ? { prompt: [1] } : {}) }, request);
  const error = await failure(model().loglikelihood([{ context: "abc", continuation: "d", name: "arc, 2" }]));
  expect(error).toBeInstanceOf(EndpointError);
  expect(error.message).toBe(
    "arc, 2: the server gave no log-probability of token 4 of the prompt's 5: it does not do echo with logprobs, and cannot be used for log-likelihoods",
  );
});

test("garbage for an answer is an error that names the request and quotes it", async () => {
  const seed = 11;
  const random = new Random(seed);
  const good = {
    choices: [
      {
        index: 0,
        text: "x",
        finish_reason: "stop",
        logprobs: { token_logprobs: [null, -1], top_logprobs: [null, { a: -1 }] },
      },
    ],
    usage: { prompt_tokens: 2 },
  };
  const bits = [null, -1, 1.5, "", "x", [], {}, true, [null], { a: "b" }];
  const damaged = (value: unknown): unknown => {
    if (random.int(4) === 0 || typeof value !== "object" || value === null) return bits[random.int(bits.length)];
    const copy: Record<string, unknown> = structuredClone(value) as Record<string, unknown>;
    const keys = Object.keys(copy);
    const key = keys[random.int(keys.length)];
    if (key === undefined) return value;
    if (random.int(3) === 0 && !Array.isArray(copy)) delete copy[key];
    else copy[key] = damaged(copy[key]);
    return copy;
  };
  let failed = 0;
  for (let round = 0; round < 300; round++) {
    let text = JSON.stringify(damaged(good));
    if (random.int(3) === 0) text = text.slice(0, random.int(text.length));
    answer = (path) =>
      path === "/v1/completions"
        ? new Response(text, { headers: { "content-type": "application/json" } })
        : new Response("", { status: 404 });
    const calls = [model().generate([greedy]), model().loglikelihood([{ context: "a", continuation: "b" }])];
    for (const call of calls) {
      const error = await call.then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) continue;
      failed++;
      if (!(error instanceof EndpointError) || !error.message.startsWith("prompt 0: "))
        throw new Error(`seed ${seed}, round ${round}: ${String(error)} for ${text}`);
    }
  }
  expect(failed).toBeGreaterThan(100);
  answer = () => completion();
  expect((await failure(model().generate([greedy]))).message).toBe(
    "prompt 0: the server gave 0 answers where 1 were asked for",
  );
});
