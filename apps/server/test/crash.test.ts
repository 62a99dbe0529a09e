/** The engine's process dies while the server answers. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import OpenAI, { APIError } from "openai";
import { type RunningServer, startServer } from "../src/index.ts";
import { commonAdapter, isRunning, Lines, longModel, until } from "./shared.ts";

const model = longModel();
const ownAdapter = join(dirname(model), "own");
const lines = new Lines();
let server: RunningServer;

beforeAll(async () => {
  cpSync(commonAdapter, ownAdapter, { recursive: true });
  server = await startServer({
    model,
    dtype: "auto",
    maxSequences: 8,
    adapters: { common: commonAdapter },
    adapterRoots: [dirname(model)],
    servedModelName: "base",
    host: "127.0.0.1",
    port: 0,
    dataDir: undefined,
    apiKey: undefined,
    log: lines.log,
  });
});
afterAll(() => server.close());

const get = (path: string) => fetch(`${server.url}${path}`);
const post = (path: string, body: object) =>
  fetch(`${server.url}${path}`, { method: "POST", body: JSON.stringify(body) });
const complete = (more: object = {}) =>
  post("/v1/completions", { model: "base", prompt: "Tom has 3 apples.", max_tokens: 20, temperature: 0, ...more });
async function text(name: string): Promise<string> {
  const { choices } = (await (await complete({ model: name })).json()) as { choices: { text: string }[] };
  return choices[0]!.text;
}
async function expectUnavailable(response: Response): Promise<void> {
  expect(response.status).toBe(503);
  expect(Number(response.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
  expect(await response.json()).toMatchObject({ error: { type: "server_error", code: "engine_unavailable" } });
}
const isReady = async () => (await get("/ready")).status === 200;

test("kill -9 gives each request a clear end; starts that fail are repeated until the engine is back with its adapters", async () => {
  await post("/v1/load_lora_adapter", { lora_name: "own", lora_path: ownAdapter });
  const names = ["base", "common", "own"];
  const before = await Promise.all(names.map(text));
  const adapters = server.engine.adapters();
  const first = server.engine.pid!;

  const stream = await complete({ stream: true, max_tokens: 8000 });
  const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader();
  let streamed = (await reader.read()).value!;
  const chat = { model: "common", messages: [{ role: "user", content: "Tom" }], max_tokens: 8000 };
  const client = new OpenAI({ apiKey: "none", baseURL: `${server.url}/v1`, maxRetries: 0 });
  const chatStream = await client.chat.completions.create({ ...chat, model: "base", stream: true } as never);
  // Both have begun when the process is killed: the engine counts them.
  const whole = [complete({ max_tokens: 8000, n: 2 }), post("/v1/chat/completions", chat)];
  await until(async () => (await server.engine.stats()).running === 5, "all requests run");
  // Without its base no other process can start, so that it stays away for as long as the test looks.
  renameSync(model, `${model}-away`);
  process.kill(first, "SIGKILL");

  for (const response of await Promise.all(whole)) await expectUnavailable(response);
  for (let part = await reader.read(); !part.done; part = await reader.read()) streamed += part.value;
  const events = streamed.trim().split("\n\n");
  expect(events.length).toBeGreaterThan(1);
  expect(JSON.parse(events.at(-1)!.replace(/^data: /, ""))).toMatchObject({
    error: { type: "server_error", code: "engine_unavailable", message: expect.stringContaining("SIGKILL") as string },
  });
  const drain = async () => {
    for await (const _ of chatStream as unknown as AsyncIterable<unknown>);
  };
  await expect(drain()).rejects.toThrow(APIError);

  expect((await get("/health")).status).toBe(200);
  await expectUnavailable(await get("/ready"));
  for (const more of [{}, { stream: true }, { model: "own" }]) await expectUnavailable(await complete(more));
  await expectUnavailable(await post("/v1/load_lora_adapter", { lora_name: "x", lora_path: ownAdapter }));
  await expectUnavailable(await post("/v1/unload_lora_adapter", { lora_name: "own" }));
  expect((await complete({ model: "nobody" })).status).toBe(404);
  expect((await complete({ temperature: 9 })).status).toBe(400);
  expect((await post("/tokenize", { prompt: "Tom" })).status).toBe(200);
  expect(await (await get("/v1/models")).text()).toContain('"own"');

  expect(await lines.next("failed:")).toContain(model);
  await expectUnavailable(await get("/ready"));
  renameSync(`${model}-away`, model);
  await until(isReady, "ready again");
  expect(lines.all.at(0)).toBe("the engine's process was ended by SIGKILL; the next one is started in 0.5 s");
  expect(lines.all.at(-1)).toBe("the engine is ready again with adapters common, own");
  expect([isRunning(first), server.engine.pid === first]).toEqual([false, false]);
  // They are read when they are asked for.
  expect(server.engine.adapters()).toEqual(adapters.map((adapter) => ({ ...adapter, tier: "disk" })));
  expect(await Promise.all(names.map(text))).toEqual(before);
});

test("an adapter comes back also when the folder that it was loaded from is gone", async () => {
  const from = lines.all.length;
  const before = await text("own");
  renameSync(ownAdapter, `${ownAdapter}-away`);
  process.kill(server.engine.pid!, "SIGKILL");
  expect(await lines.next("ready again", from)).toEndWith("with adapters common, own");
  expect(await text("own")).toBe(before);
});

test("a terminal's Ctrl-C is the parent's to hear", async () => {
  const { pid } = server.engine;
  const answer = complete({ max_tokens: 200 });
  await until(async () => (await server.engine.stats()).running === 1, "the request runs");
  process.kill(pid!, "SIGINT");
  process.kill(pid!, "SIGTERM");
  expect((await answer).status).toBe(200);
  expect(server.engine.pid).toBe(pid);
});

test("the process ends with its parent, however that ended, also with a request running", async () => {
  const parent = Bun.spawn([process.execPath, join(import.meta.dir, "fixtures/parent.ts"), model], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const { value } = await parent.stdout.getReader().read();
  const { url, worker } = JSON.parse(new TextDecoder().decode(value)) as { url: string; worker: number };
  expect(isRunning(worker)).toBe(true);
  const body = JSON.stringify({ model: "base", prompt: "Tom", max_tokens: 8000, stream: true });
  const response = await fetch(`${url}/v1/completions`, { method: "POST", body });
  await response.body!.getReader().read();
  parent.kill("SIGKILL");
  await parent.exited;
  await until(() => !isRunning(worker), "the end of the process");
});

test("closing while the engine is away starts no other", async () => {
  const from = lines.all.length;
  process.kill(server.engine.pid!, "SIGKILL");
  await lines.next("is started in", from);
  await server.close();
  expect(server.engine.pid).toBeUndefined();
  await expect(server.engine.stats()).rejects.toThrow("is closed");
});
