/** What streams may do to a client: break off, end early, carry an error. The server is a local one that does just that. */
import { afterAll, expect, test } from "bun:test";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { pipedLines } from "../src/remote/chat/lines.ts";
import { runChat } from "../src/remote/chat/run-chat.ts";
import { openChat } from "../src/remote/chat/session.ts";
import { connect } from "../src/remote/client.ts";
import { followJob } from "../src/remote/events.ts";
import { RemoteError } from "../src/remote/remote-error.ts";
import { streamAnswer } from "../src/remote/stream-answer.ts";

let answer: (request: Request) => Response | Promise<Response> = () => new Response("nothing set", { status: 500 });
const cut = Symbol("cut");
const server = createServer((request, response) => {
  void (async () => {
    const headers = new Headers(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const body = parts.length > 0 ? { method: "POST", body: Buffer.concat(parts) } : {};
    const answered = await answer(new Request(`http://localhost${request.url}`, { headers, ...body }));
    response.writeHead(answered.status, Object.fromEntries(answered.headers));
    const text = await answered.text();
    if (cut in answered) response.write(text, () => response.destroy());
    else response.end(text);
  })();
});
await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
afterAll(() => server.close());
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const { signal } = new AbortController();
const remote = connect({ url }, signal);

/** A body of these parts; `isCut`: the connection breaks behind them. */
function stream(parts: readonly string[], isCut = false): Response {
  const response = new Response(parts.join(""), { headers: { "content-type": "text/event-stream" } });
  return isCut ? Object.assign(response, { [cut]: true }) : response;
}
const event = (n: number) => {
  const data = {
    id: `ftevent-x-${n}`,
    created_at: n,
    level: "info",
    message: `event ${n}`,
    type: "message",
    data: null,
  };
  return `id: ftevent-x-${n}\nevent: fine_tuning.job.event\ndata: ${JSON.stringify(data)}\n\n`;
};
const follow = async (onLost?: () => void): Promise<string[]> => {
  const messages: string[] = [];
  const options = { signal, delayMs: () => 0, ...(onLost ? { onLost } : {}) };
  for await (const { message } of followJob(remote, "ftjob-1", options)) messages.push(message);
  return messages;
};

test("a job's events come once each across broken connections, refusals and streams that end early", async () => {
  // What a connection gives of the events that are still to come.
  const connections: ((rest: string[]) => Response)[] = [
    ([first, second]) => stream([first!, second!.slice(0, 20)], true),
    () => Response.json({ error: { message: "restarting", code: "engine_unavailable" } }, { status: 503 }),
    ([first, second]) => stream([first!, second!]),
    (rest) => stream([...rest, "data: [DONE]\n\n"]),
  ];
  const asked: (string | null)[] = [];
  answer = ({ headers, url: path }) => {
    if (!path.includes("/events")) return Response.json({ status: connections.length > 0 ? "running" : "succeeded" });
    const last = headers.get("last-event-id");
    asked.push(last);
    const next = Number(last?.at(-1) ?? 0) + 1;
    return connections.shift()!([1, 2, 3, 4].filter((n) => n >= next).map(event));
  };
  let lost = 0;
  expect(await follow(() => lost++)).toEqual(["event 1", "event 2", "event 3", "event 4"]);
  expect(asked).toHaveLength(4);
  expect(asked.at(-1)).toMatch(/^ftevent-x-[23]$/);
  expect(lost).toBeGreaterThan(0);
});

test("a server that is not there is no lost connection", async () => {
  const nobody = connect({ url: "http://127.0.0.1:9" }, signal);
  const events = followJob(nobody, "ftjob-1", { signal, delayMs: () => 0 });
  expect(events.next()).rejects.toThrow("http://127.0.0.1:9: no server can be reached there");
});

test("what trying again does not change is thrown at once", async () => {
  let tries = 0;
  answer = () => {
    tries++;
    return Response.json({ error: { message: "no job ftjob-1" } }, { status: 404 });
  };
  expect(follow()).rejects.toThrow(new RemoteError("no job ftjob-1"));
  expect(tries).toBe(1);
});

const ask = { model: "m", about: { prompt: "Tom" } };
const answered = async (): Promise<string> => {
  let text = "";
  for await (const piece of streamAnswer(remote.api, ask, signal)) text += piece.type === "text" ? piece.text : ".";
  return text;
};
const chunk = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
const word = (text: string, reason: string | null = null) => chunk({ choices: [{ text, finish_reason: reason }] });
const usage = chunk({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } });

test.each<[name: string, parts: string[], isCut: boolean, says: string]>([
  ["breaks", [word("a")], true, "the answer broke off: the connection is lost"],
  ["ends early", [word("a")], false, "the answer broke off: the stream ended before its end"],
  [
    "carries an error",
    [word("a"), chunk({ error: { message: "the engine died", code: "x" } })],
    false,
    "the engine died",
  ],
])("an answer whose stream %s fails with one line", async (_, parts, isCut, says) => {
  answer = () => stream(parts, isCut);
  expect(answered()).rejects.toThrow(new RemoteError(says));
});

test("a whole answer is its texts and its end", async () => {
  answer = () => stream([word("a"), word("b", "stop"), usage, "data: [DONE]\n\n"]);
  expect(await answered()).toBe("ab.");
});

test("without a chat template each text is continued on its own, behind the system text, and that is said once", async () => {
  const prompts: unknown[] = [];
  answer = async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/v1/models") return Response.json({ data: [{ id: "m", parent: null }] });
    if (pathname === "/tokenizer_info") return Response.json({ chat_template: null });
    expect(pathname).toBe("/v1/completions");
    prompts.push(((await request.json()) as { prompt: unknown }).prompt);
    return stream([word("yes", "stop"), usage, "data: [DONE]\n\n"]);
  };
  const chat = await openChat(remote, undefined, { sampling: {} });
  const [shown, said]: [string[], string[]] = [[], []];
  const screen = {
    write: (text: string) => shown.push(text),
    print: (line: string) => shown.push(`${line}\n`),
    log: (line: string) => said.push(line),
    isJson: false,
  };
  const lines = pipedLines(Readable.from(["One\nTwo\n/system Be brief\nThree\n"]), signal);
  await runChat(chat, lines, screen, (work) => work(signal));
  expect(prompts).toEqual(["One", "Two", "Be brief\nThree"]);
  expect(shown.join("")).toBe("yes\nyes\nyes\n");
  expect(said).toEqual([
    "m has no chat template: each text is continued as it is, without what was said before",
    "the system text is: Be brief",
  ]);
});

test("what stops an answer keeps what came of it in the conversation", async () => {
  const asked: { role: string; content: string }[][] = [];
  answer = async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/v1/models") return Response.json({ data: [{ id: "m", parent: null }] });
    if (pathname === "/tokenizer_info") return Response.json({ chat_template: "x" });
    asked.push(((await request.json()) as { messages: { role: string; content: string }[] }).messages);
    const delta = (content: string, reason: string | null) =>
      chunk({ choices: [{ delta: { content }, finish_reason: reason }] });
    return stream([delta("yes", null), delta(" and no", "stop"), usage, "data: [DONE]\n\n"]);
  };
  const chat = await openChat(remote, "m", { sampling: {} });
  const stop = new AbortController();
  for await (const piece of chat.ask("One?", stop.signal)) if (piece.type === "text") stop.abort();
  for await (const piece of chat.ask("Two?", signal)) if (piece.type === "end") expect(piece.reason).toBe("stop");
  const roles = asked.map((messages) => messages.map(({ role, content }) => `${role}: ${content}`));
  expect(roles).toEqual([["user: One?"], ["user: One?", "assistant: yes", "user: Two?"]]);
});

test("an answer of a server that is none of ours, and a server's text on the screen", async () => {
  const status = () => remote.api.v1.status.$get();
  answer = () => new Response("<html>", { headers: { "content-type": "text/html" } });
  expect(status()).rejects.toThrow(`${url}: answered with a web page; is a Graft server there?`);
  answer = () => new Response("gone", { status: 410 });
  expect(status()).rejects.toThrow(`${url}: answered 410 without an error object; is a Graft server there?`);
  answer = () =>
    Response.json({ error: { message: "two\nlines\u001b[2J" } }, { status: 429, headers: { "retry-after": "7" } });
  expect(status()).rejects.toThrow(new RemoteError("two lines [2J; try again in 7 s"));
});

test("a key that no header can carry is refused without being shown", () => {
  const attempt = () => connect({ url, apiKey: "secret\nx" }, signal);
  expect(attempt).toThrow("the API key has characters that no key has");
  expect(attempt).not.toThrow("secret");
});
