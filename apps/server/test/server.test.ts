/** The whole server on a tiny model: real engine, real HTTP, the `openai` package as client. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { baseOf, createAdapter, saveAdapter } from "@graft/adapters";
import { loadBaseModel } from "@graft/core/models";
import { Random } from "@graft/core/random";
import { openDevice } from "@graft/kernels";
import { cpSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import OpenAI from "openai";
import { writeTinyModel } from "../../../packages/core/test/tiny-model.ts";
import { type RunningServer, type ServeOptions, startServer } from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "server-"));
const micro = resolve(import.meta.dir, "../../../models/graft-micro-llama");
let server: RunningServer;
let client: OpenAI;
const options = (): ServeOptions => ({
  model: join(folder, "base"),
  adapters: { one: join(folder, "one") },
  adapterRoots: [folder],
  servedModelName: "tiny",
  host: "127.0.0.1",
  port: 0,
  dataDir: join(folder, "data"),
  apiKey: "secret",
  dtype: "auto",
  maxSequences: 8,
  log: () => undefined,
});

beforeAll(async () => {
  const device = await openDevice();
  writeTinyModel(join(folder, "base"), { config: { vocab_size: 512, eos_token_id: 2 } });
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(micro, file), join(folder, "base", file));
  const model = loadBaseModel(device, join(folder, "base"));
  const base = baseOf(model);
  for (const [n, name] of ["one", "two", "three"].entries()) {
    const adapter = await createAdapter({ peft_type: "LORA", r: 4, target_modules: "all-linear" }, base, n);
    const random = new Random(100 + n);
    for (const values of adapter.values.values())
      for (let i = 0; i < values.length; i++) values[i] = 0.15 * random.normal();
    await saveAdapter(join(folder, name), adapter, base);
  }
  model.destroy();
  await device.close();
  server = await startServer(options());
  client = new OpenAI({ apiKey: "secret", baseURL: `${server.url}/v1`, maxRetries: 0 });
});
afterAll(async () => {
  await server.close();
});

const ask = (model: string, more: object = {}) =>
  client.completions.create({ model, prompt: "Tom has 3 apples.", max_tokens: 12, temperature: 0, ...more });
async function raw(
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{
  status: number;
  body: { error?: { message: string; param?: string | null } } & Record<string, unknown>;
  text: string;
}> {
  const response = await fetch(`${server.url}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: "Bearer secret", "content-type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let parsed: Record<string, unknown> = {};
  try {
    parsed = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // Some answers are plain text, as vLLM's are.
  }
  return { status: response.status, body: parsed, text };
}

test("the openai package lists models, completes and chats", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  expect(ids).toEqual(["tiny", "one"]);
  const base = await ask("tiny");
  expect(base.usage).toMatchObject({ completion_tokens: 12 });
  expect(base.choices[0]!.finish_reason).toBe("length");
  const chat = await client.chat.completions.create({
    model: "one",
    messages: [{ role: "user", content: "Tom has 3 apples." }],
    max_tokens: 8,
    temperature: 0,
  });
  expect(chat.choices[0]!.message.role).toBe("assistant");
});

test("a stream says what the answer without it says", async () => {
  for (const model of ["tiny", "one"]) {
    const whole = await ask(model);
    let text = "";
    let usage: OpenAI.CompletionUsage | undefined;
    for await (const chunk of await client.completions.create({
      model,
      prompt: "Tom has 3 apples.",
      max_tokens: 12,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    })) {
      text += chunk.choices[0]?.text ?? "";
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]!.text);
    expect(usage).toEqual(whole.usage!);
  }
});

test("base and adapter answer differently, alone as among others, and the same seed draws the same", async () => {
  const [base, one] = [await ask("tiny"), await ask("one")];
  expect(one.choices[0]!.text).not.toBe(base.choices[0]!.text);
  const crowd = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(i % 2 === 0 ? "tiny" : "one")));
  for (const [i, answer] of crowd.entries())
    expect(answer.choices[0]!.text).toBe((i % 2 === 0 ? base : one).choices[0]!.text);
  const draw = () => ask("tiny", { temperature: 1, seed: 5, n: 2 });
  const [first, second] = [await draw(), await draw()];
  expect(second.choices).toEqual(first.choices);
  expect(first.choices[0]!.text).not.toBe(first.choices[1]!.text);
});

test("echo with logprobs gives the prompt's own log-probabilities", async () => {
  const answer = await ask("tiny", { echo: true, logprobs: 2, max_tokens: 0 });
  const { tokens, token_logprobs: logprobs } = answer.choices[0]!.logprobs!;
  expect(tokens!.length).toBe(answer.usage!.prompt_tokens);
  expect(logprobs![0]).toBeNull();
  expect(logprobs!.slice(1).every((x) => x <= 0)).toBe(true);
});

test("a stop text ends the answer before it", async () => {
  const whole = (await ask("tiny", { max_tokens: 30 })).choices[0]!.text;
  const stop = whole.slice(6, 9);
  const cut = await ask("tiny", { max_tokens: 30, stop: [stop] });
  expect(cut.choices[0]).toMatchObject({ text: whole.slice(0, whole.indexOf(stop)), finish_reason: "stop" });
});

test("mistakes are OpenAI errors that name the field", async () => {
  const prompt = { model: "tiny", prompt: "x" };
  const cases: [string, unknown, number, string][] = [
    ["/v1/completions", { ...prompt, max_tokens: "many" }, 400, "max_tokens"],
    ["/v1/completions", { ...prompt, temperature: 9 }, 400, "temperature"],
    ["/v1/completions", { model: "tiny" }, 400, "prompt"],
    ["/v1/completions", { ...prompt, model: "tinny" }, 404, "did you mean tiny"],
    ["/v1/completions", { ...prompt, max_tokens: 500 }, 400, "maximum context length"],
    ["/v1/completions", { model: "tiny", prompt: [9999] }, 400, "9999"],
    ["/v1/completions", "{nope", 400, "not valid JSON"],
    ["/v1/chat/completions", { model: "tiny", messages: [] }, 400, "messages"],
    [
      "/v1/load_lora_adapter",
      { lora_name: "x", lora_path: join(folder, "nowhere") },
      400,
      "there is no such file or folder",
    ],
    ["/v1/load_lora_adapter", { lora_name: "one", lora_path: join(folder, "one") }, 400, "already been loaded"],
    ["/v1/unload_lora_adapter", { lora_name: "x" }, 404, "cannot be found"],
    ["/v1/nothing", {}, 404, "no route"],
  ];
  for (const [path, body, status, message] of cases) {
    const answer = await raw(path, body);
    expect([path, answer.status]).toEqual([path, status]);
    expect(`${answer.body.error?.message} ${answer.body.error?.param}`).toContain(message);
  }
  expect((await raw("/v1/models", undefined, { authorization: "Bearer wrong" })).status).toBe(401);
  expect((await raw("/health", undefined, { authorization: "" })).status).toBe(200);
  expect((await raw("/v1/completions", `{"model":"tiny","prompt":"${"x".repeat(17 * 2 ** 20)}"}`)).status).toBe(413);
});

test("broken requests never give a 5xx", async () => {
  const seed = 77;
  const random = new Random(seed);
  const good = JSON.stringify({
    model: "tiny",
    prompt: "Tom",
    max_tokens: 2,
    temperature: 0.5,
    top_p: 0.9,
    stop: ["x"],
    n: 1,
    stream: false,
  });
  for (let round = 0; round < 200; round++) {
    const bytes = new TextEncoder().encode(good);
    for (let i = 0; i <= random.int(4); i++) bytes[random.int(bytes.length)] = random.int(256);
    const response = await fetch(
      `${server.url}/v1/${["completions", "chat/completions", "load_lora_adapter"][round % 3]}`,
      { method: "POST", headers: { authorization: "Bearer secret" }, body: bytes },
    );
    await response.arrayBuffer();
    if (response.status >= 500)
      throw new Error(`seed ${seed}, round ${round}: ${response.status} for ${new TextDecoder().decode(bytes)}`);
  }
});

test("a client that leaves frees its pages", async () => {
  const controller = new AbortController();
  const response = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    headers: { authorization: "Bearer secret" },
    body: JSON.stringify({ model: "tiny", prompt: "Tom", max_tokens: 100, temperature: 0, stream: true }),
    signal: controller.signal,
  });
  await response.body!.getReader().read();
  controller.abort();
  const deadline = Date.now() + 10_000;
  while ((await server.engine.stats()).kvPagesUsed > 0 && Date.now() < deadline);
  expect(await server.engine.stats()).toMatchObject({ kvPagesUsed: 0, running: 0 });
});

test("adapters swapped under load cut no request, and each answer is of one version", async () => {
  await raw("/v1/load_lora_adapter", { lora_name: "hot", lora_path: join(folder, "one") });
  const pure: Record<string, string> = {};
  for (const name of ["one", "two", "three"]) {
    await raw("/v1/load_lora_adapter", { lora_name: "hot", lora_path: join(folder, name), load_inplace: true });
    pure[name] = (await ask("hot")).choices[0]!.text;
  }
  let isSwapping = true;
  const swapper = (async () => {
    for (let i = 0; isSwapping; i++) {
      const answer = await raw("/v1/load_lora_adapter", {
        lora_name: "hot",
        lora_path: join(folder, ["one", "two", "three"][i % 3]!),
        load_inplace: true,
      });
      expect(answer.status).toBe(200);
    }
  })();
  const streams = Array.from({ length: 24 }, async () => {
    let text = "";
    let ended: string | null = null;
    for await (const chunk of await client.completions.create({
      model: "hot",
      prompt: "Tom has 3 apples.",
      max_tokens: 12,
      temperature: 0,
      stream: true,
    })) {
      text += chunk.choices[0]?.text ?? "";
      ended = chunk.choices[0]?.finish_reason ?? ended;
    }
    expect(ended).toBe("length");
    expect(Object.values(pure)).toContain(text);
  });
  await Promise.all(streams);
  isSwapping = false;
  await swapper;
  expect((await raw("/v1/unload_lora_adapter", { lora_name: "hot" })).status).toBe(200);
  expect((await raw("/v1/completions", { model: "hot", prompt: "x" })).status).toBe(404);
  expect(await server.engine.stats()).toMatchObject({ kvPagesUsed: 0 });
});

test("what was loaded is there after a restart, and a taken port is said", async () => {
  await raw("/v1/load_lora_adapter", { lora_name: "kept", lora_path: join(folder, "two") });
  const before = (await ask("kept")).choices[0]!.text;
  await expect(
    startServer({ ...options(), dataDir: undefined, port: Number(new URL(server.url).port) }),
  ).rejects.toThrow("choose another --port");
  await server.close();
  server = await startServer({ ...options(), adapters: {} });
  client = new OpenAI({ apiKey: "secret", baseURL: `${server.url}/v1`, maxRetries: 0 });
  expect((await ask("kept")).choices[0]!.text).toBe(before);
});
