/** An adapter with virtual tokens behind HTTP: it is loaded like any other, takes its room from the context, and shows nothing of them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { baseOf, createAdapter, saveAdapter } from "@graft/adapters";
import { loadBaseModel } from "@graft/core/models";
import { openDevice } from "@graft/kernels";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { writeTinyModel } from "../../../packages/core/test/tiny-model.ts";
import { type RunningServer, startServer } from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "server-virtual-"));
const micro = resolve(import.meta.dir, "../../../models/graft-micro-llama");
let server: RunningServer;
beforeAll(async () => {
  const device = await openDevice();
  const path = writeTinyModel(join(folder, "base"), { config: { vocab_size: 512 } });
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) cpSync(join(micro, file), join(path, file));
  const model = loadBaseModel(device, path);
  const base = baseOf(model);
  const prefix = await createAdapter({ peft_type: "PREFIX_TUNING", num_virtual_tokens: 5 }, base, 1);
  await saveAdapter(join(folder, "prefix"), prefix, base);
  const lora = { peft_type: "LORA", r: 4, target_modules: ["q_proj", "v_proj"], init_lora_weights: false };
  await saveAdapter(join(folder, "lora"), await createAdapter(lora, base, 2), base);
  model.destroy();
  await device.close();
  server = await startServer({
    model: path,
    adapters: { lora: join(folder, "lora") },
    adapterRoots: [folder],
    servedModelName: "tiny",
    host: "127.0.0.1",
    port: 0,
    dataDir: undefined,
    apiKey: undefined,
    dtype: "auto",
    maxSequences: 8,
    log: () => undefined,
  });
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

interface Answer {
  readonly choices: readonly {
    readonly text: string;
    readonly logprobs: { readonly tokens: readonly string[] } | null;
  }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly error?: { readonly message: string };
}

async function post(path: string, body: object): Promise<{ status: number; answer: Answer }> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${server.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const text = await response.text();
  return { status: response.status, answer: (text.startsWith("{") ? JSON.parse(text) : {}) as Answer };
}
const complete = (model: string, prompt: unknown, max_tokens: number, more: object = {}) =>
  post("/v1/completions", { model, prompt, max_tokens, temperature: 0, ...more });

test("a prefix loads while the server runs, and answers beside a LoRA and the base as if alone", async () => {
  const loaded = await post("/v1/load_lora_adapter", { lora_name: "prefix", lora_path: join(folder, "prefix") });
  expect(loaded.status).toBe(200);
  const names = ["tiny", "lora", "prefix"];
  const ask = async (name: string) => {
    const { answer } = await complete(name, "Tom has 3 apples.", 8, { echo: true, logprobs: 0 });
    return { text: answer.choices[0]!.text, tokens: answer.choices[0]!.logprobs!.tokens.length, usage: answer.usage };
  };
  const alone = [];
  for (const name of names) alone.push(await ask(name));
  expect(await Promise.all(names.map(ask))).toEqual(alone);
  expect(new Set(alone.map(({ text }) => text)).size).toBe(3);
  // Tokens of text alone are echoed and counted.
  for (const { tokens, usage } of alone) {
    expect(tokens).toBe(alone[0]!.tokens);
    expect(usage.prompt_tokens).toBe(alone[0]!.usage.prompt_tokens);
  }
});

test("a prompt may be as long as the virtual tokens leave room for", async () => {
  const prompt = Array.from({ length: 100 }, () => 7);
  expect((await complete("tiny", prompt, 28)).status).toBe(200);
  expect((await complete("prefix", prompt, 23)).status).toBe(200);
  const { status, answer } = await complete("prefix", prompt, 24);
  expect(status).toBe(400);
  expect(answer.error!.message).toContain("maximum context length is 123 tokens. However, you requested 124 tokens");
  const messages = [{ role: "user", content: "Tom has 3 apples." }];
  const chat = await post("/v1/chat/completions", { model: "prefix", messages, temperature: 0 });
  expect(chat.status).toBe(200);
  const { prompt_tokens, completion_tokens } = chat.answer.usage;
  expect(prompt_tokens + completion_tokens).toBeLessThanOrEqual(123);
});
