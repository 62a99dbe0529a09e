/** What the tests of /v1/adapters ask a server. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RunningServer } from "../src/index.ts";

export interface AdapterAnswer {
  readonly name: string;
  readonly current_version: number | null;
  readonly hash: string | null;
  readonly method: string | null;
  readonly parameters: number | null;
  readonly pinned: boolean;
  readonly tier: string | null;
  readonly versions: number;
  readonly added?: VersionAnswer;
}
export interface VersionAnswer {
  readonly version: number;
  readonly hash: string;
  readonly source: { readonly type: string } & Record<string, unknown>;
  readonly is_current: boolean;
  readonly published_at: number | null;
}
export interface Answer {
  readonly status: number;
  readonly text: string;
  /** Of an error object. */
  readonly error: { readonly message: string; readonly param: string | null; readonly code: string | null } | undefined;
  readonly json: Record<string, unknown>;
}

export function adapterApi(server: () => RunningServer) {
  async function call(method: string, path: string, body?: object): Promise<Answer> {
    const init: RequestInit =
      body instanceof FormData
        ? { body }
        : body
          ? { body: JSON.stringify(body), headers: { "content-type": "application/json" } }
          : {};
    const response = await fetch(`${server().url}${path}`, { method, ...init });
    const text = await response.text();
    const json = (text.startsWith("{") ? JSON.parse(text) : {}) as Record<string, unknown>;
    return { status: response.status, text, json, error: json["error"] as Answer["error"] };
  }
  /** Throws for what is no success. */
  async function ok<T>(method: string, path: string, body?: object): Promise<T> {
    const { status, text, json } = await call(method, path, body);
    if (status !== 200) throw new Error(`${method} ${path}: ${status} ${text}`);
    return json as T;
  }
  /** A streamed greedy completion; `afterFirst` runs when its first token is there. */
  async function stream(model: string, tokens: number, afterFirst?: () => Promise<unknown>): Promise<string> {
    const response = await fetch(`${server().url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model,
        prompt: PROMPT,
        max_tokens: tokens,
        temperature: 0,
        stream: true,
        logit_bias: NO_END,
      }),
    });
    if (!response.ok) throw new Error(`${model}: ${response.status} ${await response.text()}`);
    let all = "";
    let isFirst = true;
    for await (const bytes of response.body!) {
      all += new TextDecoder().decode(bytes);
      if (isFirst) await afterFirst?.();
      isFirst = false;
    }
    if (!all.endsWith("data: [DONE]\n\n")) throw new Error(`${model}: cut off behind ${all.slice(-200)}`);
    return all
      .split("\n")
      .filter((line) => line.startsWith("data: {"))
      .map((line) => (JSON.parse(line.slice(6)) as { choices: { text: string }[] }).choices[0]?.text ?? "")
      .join("");
  }
  const at = (name: string): string => `/v1/adapters/${encodeURIComponent(name)}`;
  return {
    call,
    ok,
    stream,
    at,
    upload: (name: string, folder: string, more: Record<string, string> = {}) =>
      ok<AdapterAnswer>("POST", "/v1/adapters", adapterForm(name, folder, more)),
    adapter: (name: string) => ok<AdapterAnswer>("GET", at(name)),
    versions: async (name: string) => (await ok<{ data: VersionAnswer[] }>("GET", `${at(name)}/versions`)).data,
    models: async () => (await ok<{ data: { id: string }[] }>("GET", "/v1/models")).data.map(({ id }) => id),
    text: async (model: string, tokens = 12): Promise<string> => {
      const body = { model, prompt: PROMPT, max_tokens: tokens, temperature: 0, logit_bias: NO_END };
      return (await ok<{ choices: { text: string }[] }>("POST", "/v1/completions", body)).choices[0]!.text;
    },
  };
}

/** The files of a folder as a form. */
export function adapterForm(name: string, folder: string, more: Record<string, string> = {}): FormData {
  const form = new FormData();
  form.set("name", name);
  for (const [field, value] of Object.entries(more)) form.set(field, value);
  for (const file of ["adapter_config.json", "adapter_model.safetensors"])
    form.append("files", new File([readFileSync(join(folder, file))], file));
  return form;
}

const PROMPT = "Tom has 3 apples and Sara gives him 4 more.";
/** Ids of end tokens of the models under test: every answer has its full length. */
const NO_END = { "0": -100, "2": -100 };
