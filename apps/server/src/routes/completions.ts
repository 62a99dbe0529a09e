/** POST /v1/completions, with echo and logprobs as lm-evaluation-harness reads them. */
import type { EngineRequest, TokenLogprob } from "@graft/core/engine";
import type { Tokenizer } from "@graft/core/text";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { z } from "zod";
import { readBody } from "../body.ts";
import { errorBody } from "../errors.ts";
import { adapterOf, assertFits, begin, type ChoiceResult, gather } from "../generation.ts";
import { samplingFields, samplingOptions, usageOf } from "../sampling.ts";
import type { Services } from "../services.ts";

const tokenIds = z.array(z.int().min(0)).min(1);
const bodySchema = z.looseObject({
  model: z.string(),
  prompt: z.union([z.string(), z.array(z.string()).min(1), tokenIds, z.array(tokenIds).min(1)]),
  max_tokens: z.int().min(0).nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
  /** Of prompts that are text; true unless it is said (vLLM's field). */
  add_special_tokens: z.boolean().nullish(),
  ...samplingFields,
});
type Body = z.output<typeof bodySchema>;

export function completionRoutes(services: Services) {
  return new Hono().post("/v1/completions", async (c) => {
    const body = await readBody(c, bodySchema);
    const adapter = adapterOf(services, body.model);
    const id = services.newId("cmpl");
    const created = Math.floor(services.now().getTime() / 1000);
    const requests = engineRequests(services, body, adapter, id);
    const signal = c.req.raw.signal;
    const head = { id, object: "text_completion", created, model: body.model };
    // The copies of a prompt have it in common.
    const promptTokens = new Set(requests.map(({ promptIds }) => promptIds))
      .values()
      .reduce((n, ids) => n + ids.length, 0);
    if (!body.stream) {
      const results = await Promise.all(requests.map((request) => gather(services, request, signal)));
      const choices = results.map((result, index) => choiceOf(services, requests[index]!, result, index, body));
      const completionTokens = results.reduce((sum, r) => sum + r.ids.length, 0);
      return c.json({ ...head, choices, usage: usageOf(promptTokens, completionTokens) });
    }
    const events = await begin(services.engine, requests, signal);
    return streamSSE(c, async (stream) => {
      const send = (index: number, text: string, logprobs: object | null, finish_reason: string | null = null) =>
        stream.writeSSE({ data: JSON.stringify({ ...head, choices: [{ index, text, logprobs, finish_reason }] }) });
      const echoed = requests.map((request) => echoOf(services, request, body));
      const offsets = echoed.map((text) => textOffsets(services.tokenizer, codePoints(text)));
      const ended = new Set<number>();
      let completion = 0;
      try {
        if (body.echo && !wantsLogprobs(body))
          for (const [index, text] of echoed.entries()) await send(index, text, null);
        for await (const { index, event } of events) {
          const request = requests[index]!;
          if (event.type === "prompt") {
            const logprobs = logprobsOf(
              services,
              promptEntries(request, event.logprobs),
              textOffsets(services.tokenizer, 0),
            );
            await send(index, echoed[index]!, logprobs);
          } else if (event.type === "token") {
            completion++;
            if (isEnd(services, request, event.id)) ended.add(index);
            const text = ended.has(index) ? "" : event.text;
            const logprobs = event.logprob ? logprobsOf(services, [event.logprob], offsets[index]!) : null;
            if (text !== "" || logprobs) await send(index, text, logprobs);
          } else await send(index, event.text, null, ended.has(index) ? "stop" : event.reason);
        }
        if (body.stream_options?.include_usage) {
          const usage = usageOf(promptTokens, completion);
          await stream.writeSSE({ data: JSON.stringify({ ...head, choices: [], usage }) });
        }
        await stream.writeSSE({ data: "[DONE]" });
      } catch (error) {
        await stream.writeSSE({ data: JSON.stringify(errorBody(error)) });
      }
    });
  });
}

function engineRequests(services: Services, body: Body, adapter: string | undefined, id: string): EngineRequest[] {
  const maxNewTokens = body.max_tokens ?? 16;
  return promptsOf(services, body).flatMap((promptIds, p) => {
    assertFits(services, adapter, promptIds, maxNewTokens);
    return Array.from({ length: body.n ?? 1 }, (_, copy): EngineRequest => ({
      requestId: `${id}-${p}-${copy}`,
      promptIds,
      maxNewTokens,
      ...samplingOptions(body, copy),
      ...(adapter === undefined ? {} : { adapter }),
      ...(wantsLogprobs(body) ? { logprobs: body.logprobs! } : {}),
      promptLogprobs: body.echo === true && wantsLogprobs(body),
      // The engine says nothing of an end token. Who scores a text asks for one token beyond it and counts on its entry.
      ...(wantsLogprobs(body) && maxNewTokens === 1 ? { eosTokenIds: [] } : {}),
    }));
  });
}

function wantsLogprobs({ logprobs }: Body): boolean {
  return logprobs !== null && logprobs !== undefined;
}

/** An end token that was asked for like any other (engineRequests). */
function isEnd(services: Services, { eosTokenIds }: EngineRequest, id: number | undefined): boolean {
  return eosTokenIds !== undefined && id !== undefined && services.engine.info.eosTokenIds.includes(id);
}

function promptsOf(services: Services, { prompt, add_special_tokens }: Body): number[][] {
  const encode = (text: string) => services.tokenizer.encode(text, { addSpecialTokens: add_special_tokens ?? true });
  if (typeof prompt === "string") return [encode(prompt)];
  if (typeof prompt[0] === "number") return [prompt as number[]];
  return (prompt as (string | number[])[]).map((one) => (typeof one === "string" ? encode(one) : one));
}

function choiceOf(services: Services, request: EngineRequest, result: ChoiceResult, index: number, body: Body) {
  const echoed = echoOf(services, request, body);
  const hasEnded = isEnd(services, request, result.ids[0]);
  const { tokenizer } = services;
  const prompt = logprobsOf(services, promptEntries(request, result.promptLogprobs ?? []), textOffsets(tokenizer, 0));
  const answer = logprobsOf(services, result.logprobs, textOffsets(tokenizer, codePoints(echoed)));
  return {
    index,
    text: echoed + (hasEnded ? "" : result.text),
    logprobs: wantsLogprobs(body)
      ? {
          tokens: [...prompt.tokens, ...answer.tokens],
          token_logprobs: [...prompt.token_logprobs, ...answer.token_logprobs],
          top_logprobs: [...prompt.top_logprobs, ...answer.top_logprobs],
          text_offset: [...prompt.text_offset, ...answer.text_offset],
        }
      : null,
    finish_reason: hasEnded ? "stop" : result.finishReason,
  };
}

function echoOf({ tokenizer }: Services, { promptIds }: EngineRequest, { echo }: Body): string {
  return echo ? tokenizer.decode(promptIds) : "";
}

type Entry = Omit<TokenLogprob, "logprob"> & { readonly logprob: number | null };

/** Nothing is known of the first token: nothing stands before it. */
function promptEntries({ promptIds }: EngineRequest, logprobs: readonly (TokenLogprob | null)[]): Entry[] {
  return logprobs.map((entry, i) => entry ?? { id: promptIds[i]!, logprob: null, top: [] });
}

/**
 * OpenAI's four lists. A token's number is the same float in token_logprobs and top_logprobs, where the token always stands; of several tokens with the same text
 * the likeliest is there.
 */
function logprobsOf({ tokenizer }: Services, entries: readonly Entry[], offsetOf: (id: number) => number) {
  const name = (id: number) => tokenizer.decode([id], { skipSpecialTokens: false, isContinuation: true });
  const topOf = ({ id, logprob, top }: Entry) => {
    if (logprob === null) return null;
    const byText = new Map<string, number>();
    for (const one of [...top, { id, logprob }]) {
      const text = name(one.id);
      byText.set(text, Math.max(one.logprob, byText.get(text) ?? one.logprob));
    }
    return Object.fromEntries(byText);
  };
  return {
    tokens: entries.map(({ id }) => name(id)),
    token_logprobs: entries.map(({ logprob }) => logprob),
    top_logprobs: entries.map(topOf),
    text_offset: entries.map(({ id }) => offsetOf(id)),
  };
}

/**
 * Where the text of a token begins, for tokens that come one by one, in code points. Tokens that show nothing begin where the next one does, and
 * all tokens of a character that takes several begin where it does.
 */
function textOffsets(tokenizer: Tokenizer, begin: number): (id: number) => number {
  const decoder = tokenizer.streamDecoder();
  let at = begin;
  return (id) => {
    const own = at;
    at += codePoints(decoder.push(id));
    return own;
  };
}

function codePoints(text: string): number {
  return [...text].length;
}
