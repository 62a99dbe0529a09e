/** POST /v1/chat/completions: the model's chat template, then as completions. */
import type { EngineRequest, TokenLogprob } from "@graft/core/engine";
import { applyChatTemplate } from "@graft/core/text";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { z } from "zod";
import { readBody } from "../body.ts";
import { errorBody } from "../errors.ts";
import { adapterOf, assertFits, begin, contextLength, gather } from "../generation.ts";
import { samplingFields, samplingOptions, usageOf } from "../sampling.ts";
import type { Services } from "../services.ts";

const part = z.looseObject({ type: z.literal("text"), text: z.string() });
const bodySchema = z.looseObject({
  model: z.string(),
  messages: z
    .array(z.looseObject({ role: z.string(), content: z.union([z.string(), z.array(part), z.null()]).optional() }))
    .min(1),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(z.unknown()).nullish(),
  ...samplingFields,
});

export function chatRoutes(services: Services) {
  return new Hono().post("/v1/chat/completions", async (c) => {
    const body = await readBody(c, bodySchema);
    const adapter = adapterOf(services, body.model);
    const { tokenizer } = services;
    const tokenText = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id));
    const text = applyChatTemplate(
      tokenizer.chatTemplate,
      body.messages.map(({ role, content }) => ({
        role,
        content: typeof content === "string" ? content : (content ?? []).map((p) => p.text).join(""),
      })),
      {
        addGenerationPrompt: true,
        bosToken: tokenText(tokenizer.bosId),
        eosToken: tokenText(tokenizer.eosId),
        tools: body.tools ?? undefined,
      },
    );
    // A template that writes the beginning-of-sequence token itself must not get a second one.
    const promptIds = withBos(tokenizer.encode(text, { addSpecialTokens: false }), tokenizer.bosId);
    const maxNewTokens =
      body.max_completion_tokens ?? body.max_tokens ?? Math.max(1, contextLength(services, adapter) - promptIds.length);
    assertFits(services, adapter, promptIds, maxNewTokens);
    const id = services.newId("chatcmpl");
    const created = Math.floor(services.now().getTime() / 1000);
    const requests = Array.from({ length: body.n ?? 1 }, (_, copy): EngineRequest => ({
      requestId: `${id}-${copy}`,
      promptIds,
      maxNewTokens,
      ...samplingOptions(body, copy),
      ...(adapter === undefined ? {} : { adapter }),
      ...(body.logprobs ? { logprobs: body.top_logprobs ?? 0 } : {}),
    }));
    const signal = c.req.raw.signal;
    if (!body.stream) {
      const results = await Promise.all(requests.map((request) => gather(services, request, signal)));
      const choices = results.map((result, index) => ({
        index,
        message: { role: "assistant", content: result.text, refusal: null },
        logprobs: body.logprobs
          ? { content: result.logprobs.map((entry) => describe(services, entry)), refusal: null }
          : null,
        finish_reason: result.finishReason,
      }));
      const completion = results.reduce((sum, result) => sum + result.ids.length, 0);
      return c.json({
        id,
        object: "chat.completion",
        created,
        model: body.model,
        choices,
        usage: usageOf(promptIds.length, completion),
      });
    }
    const head = { id, object: "chat.completion.chunk", created, model: body.model };
    const events = await begin(services.engine, requests, signal);
    return streamSSE(c, async (stream) => {
      let completion = 0;
      const send = (index: number, delta: object, finish_reason: string | null, logprobs: object | null = null) =>
        stream.writeSSE({ data: JSON.stringify({ ...head, choices: [{ index, delta, logprobs, finish_reason }] }) });
      try {
        for (const index of requests.keys()) await send(index, { role: "assistant", content: "" }, null);
        for await (const { index, event } of events) {
          if (event.type === "prompt") continue;
          if (event.type === "token") completion++;
          const logprobs =
            event.type === "token" && event.logprob
              ? { content: [describe(services, event.logprob)], refusal: null }
              : null;
          if (event.text !== "" || logprobs) await send(index, { content: event.text }, null, logprobs);
          if (event.type === "finish") await send(index, {}, event.reason);
        }
        if (body.stream_options?.include_usage)
          await stream.writeSSE({
            data: JSON.stringify({ ...head, choices: [], usage: usageOf(promptIds.length, completion) }),
          });
        await stream.writeSSE({ data: "[DONE]" });
      } catch (error) {
        await stream.writeSSE({ data: JSON.stringify(errorBody(error)) });
      }
    });
  });
}

function withBos(ids: number[], bosId: number | undefined): number[] {
  return bosId === undefined || ids[0] === bosId ? ids : [bosId, ...ids];
}

function describe(services: Services, entry: TokenLogprob) {
  const one = ({ id, logprob }: { id: number; logprob: number }) => {
    const token = services.tokenizer.decode([id], { skipSpecialTokens: false, isContinuation: true });
    return { token, logprob, bytes: [...new TextEncoder().encode(token)] };
  };
  return { ...one(entry), top_logprobs: entry.top.map(one) };
}
