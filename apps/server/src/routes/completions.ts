/** POST /v1/completions, with echo and logprobs as lm-evaluation-harness reads them. */
import type { EngineRequest, TokenLogprob } from "@graft/core/engine";
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
    if (!body.stream) {
      const results = await Promise.all(requests.map((request) => gather(services, request, signal)));
      const choices = results.map((result, index) => choiceOf(services, requests[index]!, result, index, body));
      const prompts = new Set(requests.map((request) => request.promptIds));
      const usage = usageOf(
        [...prompts].reduce((sum, ids) => sum + ids.length, 0),
        results.reduce((sum, r) => sum + r.ids.length, 0),
      );
      return c.json({ ...head, choices, usage });
    }
    const events = await begin(services.engine, requests, signal);
    return streamSSE(c, async (stream) => {
      let completion = 0;
      try {
        for await (const { index, event } of events) {
          if (event.type === "prompt") continue;
          if (event.type === "token") completion++;
          const finish_reason = event.type === "finish" ? event.reason : null;
          if (event.type === "token" && event.text === "" && !event.logprob) continue;
          const logprobs = event.type === "token" && event.logprob ? logprobsOf(services, [event.logprob], 0) : null;
          await stream.writeSSE({
            data: JSON.stringify({ ...head, choices: [{ index, text: event.text, logprobs, finish_reason }] }),
          });
        }
        if (body.stream_options?.include_usage) {
          const prompt = requests.reduce((sum, request) => sum + request.promptIds.length, 0);
          await stream.writeSSE({ data: JSON.stringify({ ...head, choices: [], usage: usageOf(prompt, completion) }) });
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
  return promptsOf(services, body.prompt).flatMap((promptIds, p) => {
    assertFits(services, adapter, promptIds, maxNewTokens);
    return Array.from({ length: body.n ?? 1 }, (_, copy): EngineRequest => ({
      requestId: `${id}-${p}-${copy}`,
      promptIds,
      maxNewTokens,
      ...samplingOptions(body, copy),
      ...(adapter === undefined ? {} : { adapter }),
      ...(body.logprobs === null || body.logprobs === undefined ? {} : { logprobs: body.logprobs }),
      promptLogprobs: body.echo === true && body.logprobs !== null && body.logprobs !== undefined,
    }));
  });
}

function promptsOf(services: Services, prompt: Body["prompt"]): number[][] {
  const encode = (text: string) => services.tokenizer.encode(text, { addSpecialTokens: true });
  if (typeof prompt === "string") return [encode(prompt)];
  if (typeof prompt[0] === "number") return [prompt as number[]];
  return (prompt as (string | number[])[]).map((one) => (typeof one === "string" ? encode(one) : one));
}

function choiceOf(services: Services, request: EngineRequest, result: ChoiceResult, index: number, body: Body) {
  const echoed = body.echo ? services.tokenizer.decode(request.promptIds) : "";
  const prompt = body.echo
    ? (result.promptLogprobs ?? []).map((entry, i) => entry ?? { id: request.promptIds[i]!, logprob: null, top: [] })
    : [];
  const wantsLogprobs = body.logprobs !== null && body.logprobs !== undefined;
  return {
    index,
    text: echoed + result.text,
    logprobs: wantsLogprobs ? logprobsOf(services, [...prompt, ...result.logprobs], 0) : null,
    finish_reason: result.finishReason,
  };
}

function logprobsOf(
  services: Services,
  entries: readonly (Omit<TokenLogprob, "logprob"> & { logprob: number | null })[],
  begin: number,
) {
  const name = (id: number) => services.tokenizer.decode([id], { skipSpecialTokens: false, isContinuation: true });
  let offset = begin;
  const tokens = entries.map((entry) => name(entry.id));
  const offsets = tokens.map((token) => {
    const at = offset;
    offset += token.length;
    return at;
  });
  return {
    tokens,
    token_logprobs: entries.map((entry) => entry.logprob),
    top_logprobs: entries.map((entry) =>
      entry.logprob === null ? null : Object.fromEntries(entry.top.map((t) => [name(t.id), t.logprob])),
    ),
    text_offset: offsets,
  };
}
