/** Routes of generation before an engine whose tokens and numbers are known. */
import type { AdapterInfo, EngineEvent, EngineRequest, TokenLogprob } from "@graft/core/engine";
import { loadTokenizer, type Tokenizer } from "@graft/core/text";
import { Hono } from "hono";
import { resolve } from "node:path";
import type { AppEnv } from "../src/app-env.ts";
import { onError } from "../src/errors.ts";
import { chatRoutes } from "../src/routes/chat.ts";
import { completionRoutes } from "../src/routes/completions.ts";
import { modelRoutes } from "../src/routes/models.ts";
import { tokenizerRoutes } from "../src/routes/tokenizer.ts";
import type { Services } from "../src/services.ts";

const microModel = resolve(import.meta.dir, "../../../models/graft-micro-llama");
export const microTokenizer = loadTokenizer(microModel);
/** End token of the embedded model. */
export const EOS = 2;

const prefix: AdapterInfo = {
  name: "prefix",
  version: "v",
  path: "/p",
  method: "prefix",
  parameters: 1,
  bytes: 4,
  virtualTokens: 10,
  isPinned: false,
  tier: "host",
};

export interface KnownEngine {
  /** Tokens of an answer, one list for all requests or one for each. */
  readonly answer: readonly number[] | ((request: EngineRequest) => readonly number[]);
  /** Alternatives beside each token, whose own log-probability is -id. */
  readonly top?: TokenLogprob["top"];
  readonly tokenizer?: Tokenizer;
  /** Of the context; default 64. */
  readonly maxLength?: number;
  /** Waits for the signal behind the answer. */
  readonly hangs?: boolean;
  /** Instead of an answer; of its end. */
  readonly error?: Error;
  readonly endError?: Error;
}

/** "tiny" is the base and "prefix" an adapter with ten virtual tokens; the context has 64 tokens unless it is said. */
export function appThatAnswers({
  answer,
  top = [],
  tokenizer = microTokenizer,
  hangs = false,
  error,
  endError,
  maxLength = 64,
}: KnownEngine) {
  const asked: EngineRequest[] = [];
  const spent: number[] = [];
  async function* generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    asked.push(request);
    if (error) throw error;
    const entry = (id: number): TokenLogprob => ({ id, logprob: -id, top });
    const own = (id: number) => (request.logprobs === undefined ? {} : { logprob: entry(id) });
    const stops = new Set(request.eosTokenIds ?? [EOS]);
    const text = tokenizer.streamDecoder();
    const end = { type: "finish" as const, text: "", cachedTokens: 1 };
    if (request.promptLogprobs)
      yield { type: "prompt", logprobs: request.promptIds.map((id, i) => (i === 0 ? null : entry(id))) };
    const ids = typeof answer === "function" ? answer(request) : answer;
    for (const id of ids.slice(0, request.maxNewTokens)) {
      if (stops.has(id)) return yield { ...end, reason: "stop", ...own(id) };
      yield { type: "token", id, text: text.push(id), ...own(id) };
    }
    if (endError) throw endError;
    if (!hangs) return yield { ...end, reason: "length" };
    await new Promise<void>((resolve) => {
      signal!.addEventListener("abort", () => resolve());
      if (signal!.aborted) resolve();
    });
    yield { ...end, reason: "abort" };
  }
  const engine = {
    info: {
      modelPath: microModel,
      modelType: "llama",
      vocabSize: 512,
      maxLength,
      eosTokenIds: [EOS],
      device: "none",
    },
    adapters: () => [prefix],
    adapter: (name: string) => (name === "prefix" ? prefix : undefined),
  };
  let ids = 0;
  const services = {
    engine,
    generate,
    tokenizer,
    settings: { modelName: "tiny" },
    startedAt: new Date(0),
    now: () => new Date(0),
    newId: (kind: string) => `${kind}-${++ids}`,
  } as unknown as Services;
  const app = new Hono<AppEnv>()
    .onError(onError)
    .use((c, next) => {
      c.set("spendTokens", async (tokens) => void spent.push(tokens));
      return next();
    })
    .route("/", completionRoutes(services))
    .route("/", chatRoutes(services))
    .route("/", modelRoutes(services))
    .route("/", tokenizerRoutes(services));
  const post = async (path: string, body: object, headers: Record<string, string> = {}) => {
    const response = await app.request(path, { method: "POST", body: JSON.stringify(body), headers });
    return { status: response.status, text: await response.text() };
  };
  return { app, asked, spent, post };
}

/** An answer of completions, or a chunk of one. */
export interface Completion {
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

/** Completes "Tom has" with the base, unless it is said otherwise. Throws an Error with the body of what is not a 200. */
export async function complete(app: ReturnType<typeof appThatAnswers>, more: object): Promise<Completion> {
  const { status, text } = await app.post("/v1/completions", { model: "tiny", prompt: "Tom has", ...more });
  if (status !== 200) throw new Error(text);
  return JSON.parse(text) as Completion;
}

/** The chunks of a stream, without its [DONE]. Throws if that is missing. */
export function chunksOf<T>(text: string): T[] {
  const events = text
    .trim()
    .split("\n\n")
    .map((line) => line.replace(/^data: /, ""));
  if (events.pop() !== "[DONE]") throw new Error(`the stream does not end with [DONE]: ${text.slice(-200)}`);
  return events.map((event) => JSON.parse(event) as T);
}
