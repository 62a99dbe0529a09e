/** A model behind an OpenAI-compatible server, measured like one of this machine. */
import { ConfigError } from "@graft/core/errors";
import type {
  FinishReason,
  GenerateRequest,
  GenerateResult,
  LanguageModel,
  LoglikelihoodRequest,
  LoglikelihoodResult,
} from "@graft/core/generate";
import { z } from "zod";
import {
  type Ask,
  type EndpointClient,
  endpointClient,
  EndpointError,
  type EndpointOptions,
} from "./endpoint-client.ts";

export interface EndpointModelOptions extends EndpointOptions {
  /** The server's name of it. */
  readonly model: string;
  /** Requests under way at once; default 16. */
  readonly concurrency?: number;
  /** Asks through /v1/chat/completions, the prompt as one user message: for servers without completions. No log-probabilities, and no prompt is cut. */
  readonly isChat?: boolean;
}

/**
 * Generates through /v1/completions and scores through its echo, as lm-evaluation-harness does. Prompts are cut, and contexts separated from continuations,
 * with the server's own /tokenize where it has vLLM's; `promptIds` and `ids` are empty where ids are not known. Throws ConfigError for what HTTP does not
 * offer (beam search), EndpointError for what the server does not do.
 */
export function endpointModel(options: EndpointModelOptions): LanguageModel {
  const client = endpointClient(options);
  const { model, concurrency = 16, isChat = false } = options;
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new ConfigError(`concurrency of an endpoint: must be a whole number of at least 1, not ${concurrency}`);
  const server: Server = { client, model, tokenizer: once((ask) => findTokenizer(client, model, ask)) };
  return {
    name: `${model} at ${client.url}`,
    async generate(requests, { signal, onResult } = {}) {
      for (const [i, request] of requests.entries()) assertOffered(request, nameOf(request, i));
      return inParallel(requests, concurrency, signal, onResult, (request, i, ownSignal) => {
        const ask = { name: nameOf(request, i), signal: ownSignal };
        return isChat ? chat(server, request, ask) : complete(server, request, ask);
      });
    },
    async loglikelihood(requests, { signal, onResult } = {}) {
      if (isChat && requests.length > 0)
        throw new ConfigError(
          "log-likelihoods need the prompt's own log-probabilities, which chat completions do not give; ask for completions",
        );
      const lengths = new Map<string, Promise<number>>();
      return inParallel(requests, concurrency, signal, onResult, (request, i, ownSignal) =>
        score(server, request, lengths, { name: nameOf(request, i), signal: ownSignal }),
      );
    },
  };
}

interface Server {
  readonly client: EndpointClient;
  readonly model: string;
  /** Undefined where the server has none. */
  readonly tokenizer: (ask: Ask) => Promise<RemoteTokenizer | undefined>;
}

interface RemoteTokenizer {
  /** Tokens of a prompt and its answer together. */
  readonly maxLength: number;
  encode(text: string, addSpecialTokens: boolean, ask: Ask): Promise<number[]>;
  /** What stands before a text without a context; undefined where the tokenizer has nothing for that. */
  startId(ask: Ask): Promise<number | undefined>;
}

function nameOf({ name }: { readonly name?: string | undefined }, index: number): string {
  return name ?? `prompt ${index}`;
}

function assertOffered(request: GenerateRequest, name: string): void {
  if ((request.numBeams ?? 1) > 1)
    throw new ConfigError(
      `${name}: asks for ${request.numBeams} beams, and beam search is not offered over HTTP; use one beam, or a model of this machine`,
    );
  const others = {
    eosTokenIds: request.eosTokenIds !== undefined,
    noRepeatNgramSize: (request.noRepeatNgramSize ?? 0) > 0,
    typicalP: (request.typicalP ?? 1) < 1,
  };
  for (const [field, isSet] of Object.entries(others))
    if (isSet)
      throw new ConfigError(`${name}: ${field} is not offered over HTTP; leave it out, or use a model of this machine`);
}

/** The fields that completions and chat share. Those beyond OpenAI's own are sent only where they say something. */
function samplingOf(request: GenerateRequest) {
  const stop = (request.stop ?? []).filter((text) => text !== "");
  return {
    max_tokens: request.maxNewTokens,
    temperature: request.temperature ?? 0,
    ...(request.topP === undefined ? {} : { top_p: request.topP }),
    ...(request.topK ? { top_k: request.topK } : {}),
    ...(request.minP ? { min_p: request.minP } : {}),
    ...((request.repetitionPenalty ?? 1) === 1 ? {} : { repetition_penalty: request.repetitionPenalty }),
    ...(request.seed === undefined ? {} : { seed: request.seed }),
    ...(stop.length > 0 ? { stop } : {}),
    ...(request.numReturnSequences === undefined ? {} : { n: request.numReturnSequences }),
  };
}

const index = z.int().min(0).default(0);
const finish = z.string().nullish();
const completionReply = z.looseObject({
  choices: z.array(z.looseObject({ index, text: z.string(), finish_reason: finish })),
});
const chatReply = z.looseObject({
  choices: z.array(
    z.looseObject({ index, message: z.looseObject({ content: z.string().nullish() }), finish_reason: finish }),
  ),
});

async function complete(
  { client, model, tokenizer }: Server,
  request: GenerateRequest,
  ask: Ask,
): Promise<GenerateResult> {
  const { prompt, promptIds, cutTokens } = await fitted(request, tokenizer, ask);
  const { choices } = await client.post(
    "/completions",
    { model, prompt, ...samplingOf(request) },
    completionReply,
    ask,
  );
  return { promptIds, cutTokens, sequences: sequencesOf(request, choices, ({ text }) => text, ask) };
}

async function chat({ client, model }: Server, request: GenerateRequest, ask: Ask): Promise<GenerateResult> {
  if (typeof request.prompt !== "string")
    throw new ConfigError(`${ask.name}: chat completions take text, and this prompt is token ids`);
  const messages = [{ role: "user", content: request.prompt }];
  const { choices } = await client.post(
    "/chat/completions",
    { model, messages, ...samplingOf(request) },
    chatReply,
    ask,
  );
  const sequences = sequencesOf(request, choices, ({ message }) => message.content ?? "", ask);
  return { promptIds: [], cutTokens: 0, sequences };
}

interface Choice {
  readonly index: number;
  readonly finish_reason?: string | null | undefined;
}

function sequencesOf<C extends Choice>(
  request: GenerateRequest,
  choices: readonly C[],
  textOf: (choice: C) => string,
  { name }: Ask,
) {
  const wanted = request.numReturnSequences ?? 1;
  if (choices.length !== wanted)
    throw new EndpointError(`${name}: the server gave ${choices.length} answers where ${wanted} were asked for`);
  return choices
    .toSorted((a, b) => a.index - b.index)
    .map((choice) => ({ ids: [], text: textOf(choice), finishReason: reasonOf(choice.finish_reason) }));
}

/** What servers call an end besides "length" and "stop" ("eos", "stop_sequence", ...) is one; a filter or an abort cut the answer off. */
function reasonOf(reason: string | null | undefined): FinishReason {
  if (reason === "length") return "length";
  return reason === "content_filter" || reason === "abort" ? "abort" : "stop";
}

/** A prompt that must be cut and cannot be stays as it is: the server refuses it. */
async function fitted({ prompt, truncation, maxNewTokens }: GenerateRequest, tokenizer: Server["tokenizer"], ask: Ask) {
  const asGiven = { prompt, promptIds: typeof prompt === "string" ? [] : prompt, cutTokens: 0 };
  const own = truncation === "left" ? await tokenizer(ask) : undefined;
  if (!own) return asGiven;
  const ids = typeof prompt === "string" ? await own.encode(prompt, true, ask) : prompt;
  const room = own.maxLength - maxNewTokens;
  const cutTokens = room > 0 ? Math.max(0, ids.length - room) : 0;
  const promptIds = ids.slice(cutTokens);
  return { prompt: promptIds, promptIds, cutTokens };
}

const echoReply = z.looseObject({
  choices: z
    .array(
      z.looseObject({
        logprobs: z.looseObject({
          token_logprobs: z.array(z.number().nullable()),
          top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
        }),
      }),
    )
    .min(1),
  usage: z.looseObject({ prompt_tokens: z.int().min(1) }),
});

async function score(
  server: Server,
  request: LoglikelihoodRequest,
  lengths: Map<string, Promise<number>>,
  ask: Ask,
): Promise<LoglikelihoodResult> {
  const pair = await pairOf(server, request, lengths, ask);
  // One token beyond the prompt, as lm-evaluation-harness asks: not every server takes 0.
  const body = {
    model: server.model,
    prompt: pair.prompt,
    max_tokens: pair.isFull ? 0 : 1,
    temperature: 0,
    echo: true,
    logprobs: 1,
  };
  const { choices, usage } = await server.client.post("/completions", body, echoReply, ask);
  const { token_logprobs, top_logprobs } = choices[0]!.logprobs;
  const positions = { from: pair.contextLength, to: pair.length ?? usage.prompt_tokens };
  let logprob = 0;
  let isGreedy = true;
  for (let i = positions.from; i < positions.to; i++) {
    const own = token_logprobs[i];
    const top = top_logprobs[i];
    if (typeof own !== "number" || !top)
      throw new EndpointError(
        `${ask.name}: the server gave no log-probability of token ${i} of the prompt's ${positions.to}: it does not do echo with logprobs, and cannot be used for log-likelihoods`,
      );
    logprob += own;
    // The two are the same float where the token is the likeliest: lm-evaluation-harness compares them so.
    isGreedy &&= own === Math.max(own, ...Object.values(top));
  }
  return { logprob, tokenCount: Math.max(0, positions.to - positions.from), isGreedy, cutTokens: pair.cutTokens };
}

interface Pair {
  readonly prompt: string | readonly number[];
  readonly contextLength: number;
  /** Tokens of the whole; undefined where only the server knows. */
  readonly length: number | undefined;
  /** There is no room for another token. */
  readonly isFull: boolean;
  readonly cutTokens: number;
}

/**
 * Blanks at the end of the context belong to the continuation, and the ids of the whole text are cut where those of the context end: as createLanguageModel and
 * lm-evaluation-harness split it. Where the server does not tokenize, its usage says how many tokens the context has.
 */
async function pairOf(
  { client, model, tokenizer }: Server,
  { context, continuation, truncation }: LoglikelihoodRequest,
  lengths: Map<string, Promise<number>>,
  ask: Ask,
): Promise<Pair> {
  const head = context.trimEnd();
  const tail = context.slice(head.length) + continuation;
  const own = await tokenizer(ask);
  const lengthOf = (measure: () => Promise<number>): Promise<number> => {
    const length = lengths.get(head) ?? measure();
    lengths.set(head, length);
    return length;
  };
  if (!own) {
    if (head === "")
      throw new EndpointError(
        `${ask.name}: has no context, and without /tokenize of the server it is not known what stands before its first token`,
      );
    const body = { model, prompt: head, max_tokens: 1, temperature: 0 };
    const contextLength = await lengthOf(
      async () => (await client.post("/completions", body, usageReply, ask)).usage.prompt_tokens,
    );
    return { prompt: head + tail, contextLength, length: undefined, isFull: false, cutTokens: 0 };
  }
  const start = head === "" ? await own.startId(ask) : undefined;
  const encoded = await own.encode(head + tail, head !== "", ask);
  const ids = start === undefined ? encoded : [start, ...encoded];
  const contextLength = head === "" ? 1 : await lengthOf(async () => (await own.encode(head, true, ask)).length);
  const cutTokens = truncation === "left" ? Math.max(0, ids.length - own.maxLength) : 0;
  return {
    prompt: ids.slice(cutTokens),
    contextLength: Math.max(1, contextLength - cutTokens),
    length: ids.length - cutTokens,
    isFull: ids.length - cutTokens >= own.maxLength,
    cutTokens,
  };
}

const usageReply = z.looseObject({ usage: z.looseObject({ prompt_tokens: z.int().min(1) }) });
const tokenizeReply = z.looseObject({
  count: z.int().min(0),
  max_model_len: z.int().min(1),
  tokens: z.array(z.int().min(0)),
});
const tokenizerInfo = z.looseObject({ bos_token: z.string().nullish(), eos_token: z.string().nullish() });

/** vLLM's /tokenize, beside /v1. A server that refuses the question has none; so has one whose answer is of another kind. */
async function findTokenizer(client: EndpointClient, model: string, ask: Ask): Promise<RemoteTokenizer | undefined> {
  const root = client.url.replace(/\/v1$/, "");
  const post = (prompt: string, add_special_tokens: boolean, own: Ask) =>
    client.post(`${root}/tokenize`, { model, prompt, add_special_tokens }, tokenizeReply, own);
  const encode = async (text: string, addSpecialTokens: boolean, own: Ask) =>
    (await post(text, addSpecialTokens, own)).tokens;
  const found = await offered(() => post("a", true, ask));
  return (
    found && {
      maxLength: found.max_model_len,
      encode,
      startId: once(async (own) => {
        const info = await offered(() => client.get(`${root}/tokenizer_info`, tokenizerInfo, own));
        const token = info?.bos_token ?? info?.eos_token;
        return (token ? await encode(token, false, own) : await encode("", true, own))[0];
      }),
    }
  );
}

/** Answers of a server that does not know a route, or knows another one of that name. */
const MISSING = [400, 404, 405, 422, 501];

/** Undefined where the server has no such route. What it cannot do now (no connection, 401, 429, 5xx) is an error. */
async function offered<T>(question: () => Promise<T>): Promise<T | undefined> {
  try {
    return await question();
  } catch (error) {
    if (!(error instanceof EndpointError)) throw error;
    const { status, cause } = error;
    const isMissing = status === undefined ? cause === undefined : MISSING.includes(status);
    if (isMissing) return undefined;
    throw error;
  }
}

/** Asks once, and again after a failure. */
function once<T>(find: (ask: Ask) => Promise<T>): (ask: Ask) => Promise<T> {
  let found: Promise<T> | undefined;
  return async (ask) => {
    const own = (found ??= find(ask));
    try {
      return await own;
    } catch (error) {
      if (found === own) found = undefined;
      throw error;
    }
  };
}

/** Results in the order of the items, at most `limit` under way. The first failure ends the others, and is thrown when all have ended. */
async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  signal: AbortSignal | undefined,
  onResult: ((index: number, result: R) => void) | undefined,
  work: (item: T, index: number, signal: AbortSignal) => Promise<R>,
): Promise<R[]> {
  signal?.throwIfAborted();
  const failure = new AbortController();
  const both = signal ? AbortSignal.any([signal, failure.signal]) : failure.signal;
  const results: R[] = [];
  const rest = items.entries();
  const worker = async (): Promise<void> => {
    for (const [i, item] of rest) {
      both.throwIfAborted();
      results[i] = await work(item, i, both);
      onResult?.(i, results[i]);
    }
  };
  const workers = Array.from({ length: Math.min(limit, items.length) }, async () => {
    try {
      await worker();
    } catch (error) {
      // The first reason stays.
      failure.abort(error);
    }
  });
  await Promise.all(workers);
  signal?.throwIfAborted();
  failure.signal.throwIfAborted();
  return results;
}
