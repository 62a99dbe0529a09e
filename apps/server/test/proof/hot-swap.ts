/**
 * Adapters are published, rolled back, loaded and unloaded while streams run on them. Nothing may fail or be cut, each answer must be that of exactly one version, and memory must
 * come back to where it was.
 */
import { Random } from "@graft/core/random";
import { join } from "node:path";
import type { RunningServer } from "../../src/index.ts";
import { type Kind, writeRandomAdapter } from "./random-adapters.ts";

export interface HotSwapOptions {
  readonly server: RunningServer;
  /** Folder of the base, and a folder for adapters from which the server may load. */
  readonly model: string;
  readonly folder: string;
  /** A name each, under which versions come and go. */
  readonly kinds: readonly Kind[];
  readonly versions: number;
  readonly streams: number;
  /** Publications, rollbacks, loads and unloads in all; streams go on until they are done and `seconds` have passed. */
  readonly changes: number;
  readonly seconds: number;
  readonly seed: number;
}

export interface HotSwapResult {
  readonly requests: number;
  readonly changes: number;
  /** Requests by version, so that it is seen that many took part. */
  readonly byVersion: Readonly<Record<string, number>>;
  readonly failures: readonly string[];
  readonly deviceBytes: { readonly before: number; readonly after: number };
}

const PROMPTS = [
  "Tom has 3 apples and Sara gives him 4 more.",
  "The red box is larger than the blue box.",
  "Ben had 9 coins. He lost 2 of them.",
];
const TOKENS = 12;

export async function hotSwap(options: HotSwapOptions): Promise<HotSwapResult> {
  const { server, model, folder, kinds, versions, streams, changes, seconds, seed } = options;
  const random = new Random(seed);
  const failures: string[] = [];
  const call = async (method: string, path: string, body?: object): Promise<Record<string, unknown>> => {
    const init = body ? { headers: { "content-type": "application/json" }, body: JSON.stringify(body) } : {};
    const response = await fetch(`${server.url}${path}`, { method, ...init });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text.startsWith("{") ? JSON.parse(text) : {}) as Record<string, unknown>;
  };
  const idle = async (): Promise<number> => {
    // What a request held is freed behind its last event.
    for (;;) {
      const { deviceBytes, running, waiting } = await server.engine.stats();
      if (running + waiting === 0 && server.engine.adapters().length === 0) return deviceBytes;
      await new Promise((resume) => setTimeout(resume, 10));
    }
  };

  // Folders of all versions, and what each answers when it is alone.
  const folders = new Map<string, string>();
  for (const kind of kinds)
    for (let v = 1; v <= versions; v++)
      folders.set(`${kind}/${v}`, await writeRandomAdapter(model, join(folder, "versions"), kind, v));
  const alone = new Map<string, readonly string[]>();
  for (const [version, path] of folders) {
    await call("POST", "/v1/load_lora_adapter", { lora_name: "alone", lora_path: path });
    alone.set(version, await Promise.all(PROMPTS.map((prompt) => stream("alone", prompt))));
    await call("POST", "/v1/unload_lora_adapter", { lora_name: "alone" });
  }
  for (const [i] of PROMPTS.entries()) {
    const answers = new Set([...alone.values()].map((texts) => texts[i]));
    if (answers.size !== alone.size)
      failures.push(`prompt ${i}: two versions answer alike, so that nothing tells them apart`);
  }
  const before = await idle();

  for (const kind of kinds) {
    for (let v = 1; v <= versions; v++)
      await call("POST", "/v1/adapters", { name: kind, from: { path: folders.get(`${kind}/${v}`) }, publish: v === 1 });
  }
  let made = 0;
  let requests = 0;
  const byVersion: Record<string, number> = {};
  const end = performance.now() + 1000 * seconds;
  const isOver = (): boolean => failures.length > 20 || (made >= changes && performance.now() >= end);

  const reader = async (number: number): Promise<void> => {
    const own = new Random(seed, number + 1);
    while (!isOver()) {
      const kind = kinds[own.int(kinds.length)]!;
      const prompt = own.int(PROMPTS.length);
      try {
        const text = await stream(kind, PROMPTS[prompt]!);
        const explained = [...alone].filter(([name, texts]) => name.startsWith(`${kind}/`) && texts[prompt] === text);
        if (explained.length === 1) byVersion[explained[0]![0]] = (byVersion[explained[0]![0]] ?? 0) + 1;
        else failures.push(`${kind}: ${JSON.stringify(text)} is the answer of ${explained.length} versions`);
        requests++;
      } catch (error) {
        failures.push(String(error));
      }
    }
  };

  const published = new Map<string, number[]>(kinds.map((kind) => [kind, [1]]));
  const change = async (): Promise<void> => {
    const kind = kinds[random.int(kinds.length)]!;
    const history = published.get(kind)!;
    const what = random.int(3);
    if (what === 0 && history.length > 1) {
      await call("POST", `/v1/adapters/${kind}/rollback`);
      history.pop();
      made++;
    } else if (what === 1) {
      // Loaded, asked, and unloaded in the middle of its answer.
      const name = `passing-${made}`;
      const version = `${kind}/${1 + random.int(versions)}`;
      await call("POST", "/v1/load_lora_adapter", { lora_name: name, lora_path: folders.get(version) });
      const text = await stream(name, PROMPTS[0]!, () => call("POST", "/v1/unload_lora_adapter", { lora_name: name }));
      if (text !== alone.get(version)![0]) failures.push(`${name}: not the answer of ${version}`);
      made += 2;
    } else {
      const next = 1 + random.int(versions);
      if (next === history.at(-1)) return;
      await call("POST", `/v1/adapters/${kind}/publish`, { version: next });
      history.push(next);
      made++;
    }
  };
  const changer = async (): Promise<void> => {
    while (!isOver()) {
      await change().catch((error: unknown) => failures.push(String(error)));
      // Spread over the time there is.
      const due = (made / changes) * 1000 * seconds - (performance.now() - (end - 1000 * seconds));
      if (due > 0) await new Promise((resume) => setTimeout(resume, due));
    }
  };
  await Promise.all([...Array.from({ length: streams }, (_, i) => reader(i)), changer()]);

  for (const kind of kinds) await call("DELETE", `/v1/adapters/${kind}`);
  const after = await idle();
  return { requests, changes: made, byVersion, failures, deviceBytes: { before, after } };

  /** A whole streamed answer. Throws if it fails, or ends without its end. */
  async function stream(name: string, prompt: string, afterFirst?: () => Promise<unknown>): Promise<string> {
    const response = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: name,
        prompt,
        max_tokens: TOKENS,
        temperature: 0,
        stream: true,
        logit_bias: NO_END,
      }),
    });
    if (!response.ok) throw new Error(`${name}: ${response.status} ${await response.text()}`);
    let text = "";
    let rest = "";
    let isDone = false;
    let reason: string | null = null;
    const decoder = new TextDecoder();
    for await (const bytes of response.body!) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (line === "data: [DONE]") isDone = true;
        else if (line.startsWith("data: ")) {
          const event = JSON.parse(line.slice(6)) as {
            error?: { message: string };
            choices?: { text: string; finish_reason: string | null }[];
          };
          if (event.error) throw new Error(`${name}: ${event.error.message}`);
          const [choice] = event.choices!;
          const isFirst = text === "" && choice!.text !== "";
          text += choice!.text;
          reason = choice!.finish_reason ?? reason;
          if (isFirst) await afterFirst?.();
        }
      }
    }
    if (!isDone || reason !== "length") throw new Error(`${name}: cut off behind ${JSON.stringify(text)}, ${reason}`);
    return text;
  }
}

/** Id of the embedded models' end token: every answer has its full length. */
const NO_END = { "2": -100 };
