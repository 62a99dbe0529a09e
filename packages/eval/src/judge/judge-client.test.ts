import { afterAll, beforeEach, expect, test } from "bun:test";
import { ConfigError } from "@graft/core/errors";
import { EndpointError } from "../endpoint-client.ts";
import { createJudge, type JudgeOptions } from "./judge-client.ts";

let asked: { readonly path: string; readonly key: string | null; readonly body: unknown }[] = [];
let answer: (count: number) => Response = () => said("fine");
const said = (content: string | null, finish_reason = "stop") =>
  Response.json({ choices: [{ index: 0, message: { role: "assistant", content }, finish_reason }] });
const server = Bun.serve({
  port: 0,
  async fetch(request) {
    asked.push({
      path: new URL(request.url).pathname,
      key: request.headers.get("authorization"),
      body: await request.json(),
    });
    return answer(asked.length);
  },
});
beforeEach(() => {
  asked = [];
});
afterAll(() => server.stop(true));

const url = `http://127.0.0.1:${server.port}/v1`;
const judge = (more: Partial<JudgeOptions> = {}) => createJudge({ url, model: "j", delayMs: () => 0, ...more });
const messages = [
  { role: "system", content: "You judge." },
  { role: "user", content: 'Is "{x}" good?' },
] as const;
const ask = { name: "question 7" };
/** The EndpointError of a call that must fail. */
async function failure(call: Promise<string>): Promise<EndpointError> {
  const outcome = await call.catch((error: unknown) => error);
  if (!(outcome instanceof EndpointError)) throw new Error(`expected an EndpointError, got ${String(outcome)}`);
  return outcome;
}

test("the messages go out as they are, with FastChat's settings", async () => {
  answer = () => said("Good. [[9]]");
  expect(await judge({ apiKey: "k" })(messages, ask)).toBe("Good. [[9]]");
  await judge({ temperature: 0.5, maxTokens: 7 })(messages, ask);
  expect(asked).toEqual([
    {
      path: "/v1/chat/completions",
      key: "Bearer k",
      body: { model: "j", messages: [...messages], temperature: 0, max_tokens: 2048 },
    },
    {
      path: "/v1/chat/completions",
      key: null,
      body: { model: "j", messages: [...messages], temperature: 0.5, max_tokens: 7 },
    },
  ]);
});

test("a busy judge is asked again, as often as is said", async () => {
  answer = (count) =>
    count < 3 ? new Response("busy", { status: 429, headers: { "retry-after": "0" } }) : said("[[1]]");
  expect(await judge()(messages, ask)).toBe("[[1]]");
  expect(asked.length).toBe(3);
  answer = () => Response.json({ error: { message: "overloaded" } }, { status: 503 });
  const error = await failure(judge({ retries: 1 })(messages, ask));
  expect(error.message).toBe(`question 7: POST ${url}/chat/completions answered 503: overloaded`);
  expect(asked.length).toBe(5);
});

test("what is no judgement is an error that quotes the server", async () => {
  const cases: readonly (readonly [Response, string])[] = [
    [Response.json({ error: { message: "bad key" } }, { status: 401 }), "answered 401: bad key"],
    [new Response("<html>hello</html>"), "answered something else than was asked for"],
    [Response.json({ choices: [] }), "answered something else than was asked for (choices"],
    [said(null, "length"), "question 7: the judge j said nothing (finish_reason length)"],
    [said(" \n", "content_filter"), "question 7: the judge j said nothing (finish_reason content_filter)"],
  ];
  for (const [response, message] of cases) {
    answer = () => response;
    expect((await failure(judge()(messages, ask))).message).toContain(message);
  }
  for (const concurrency of [0, 1.5]) expect(() => judge({ concurrency })).toThrow(ConfigError);
  expect(() => judge({ url: "nowhere" })).toThrow(ConfigError);
});

test("no more requests are under way than allowed, and the signal ends those that wait", async () => {
  const open: ((response: Response) => void)[] = [];
  const { promise: arrived, resolve: seen } = Promise.withResolvers<void>();
  const own = judge({
    concurrency: 2,
    fetch: () =>
      new Promise((resolve) => {
        open.push(resolve);
        if (open.length === 2) seen();
      }),
  });
  const stopper = new AbortController();
  const stopped = new Error("stopped");
  const first = [own(messages, ask), own(messages, ask)];
  const waiting = own(messages, { ...ask, signal: stopper.signal });
  await arrived;
  stopper.abort(stopped);
  expect(await waiting.catch((error: unknown) => error)).toBe(stopped);
  expect(open.length).toBe(2);
  for (const resolve of open) resolve(said("[[4]]"));
  expect(await Promise.all(first)).toEqual(["[[4]]", "[[4]]"]);
});
