/** POST /v1/chat/completions: the model's chat template, then as completions. */
import type { EngineRequest } from "@graft/core/engine";
import { type Context, Hono } from "hono";
import type { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { choiceOf, writeChunks } from "../inference/chat-choice.ts";
import { chatPromptIds } from "../inference/chat-messages.ts";
import { chatChunk, type ChatRequest, chatRequest, chatResponse } from "../inference/chat-schema.ts";
import { describe, jsonBody } from "../describe.ts";
import { ApiError } from "../errors.ts";
import {
  adapterOf,
  assertFits,
  contextLength,
  deadlineOf,
  gather,
  runChoices,
  TIMEOUT_NOTE,
} from "../inference/generation.ts";
import { type AskedFormat, formatOf } from "../inference/response-format.ts";
import { samplingOptions } from "../inference/sampling.ts";
import type { Services } from "../services.ts";
import { streamRun } from "../inference/stream.ts";
import { planTools, type ToolPlan } from "../inference/tool-choice.ts";
import { unixSeconds } from "../unix-seconds.ts";

const DESCRIPTION = `As OpenAI's, for the base and for every adapter, in the model's own chat template: the one that training on conversations uses. With \`stream\` the answer is server-sent events that end with \`[DONE]\`.

Tools go to the template. Calls are read from the answer where the template asks for them as Hermes and Qwen do (\`<tool_call>\`) or as Llama 3 does (JSON); other formats stay text. With \`tool_choice\` \`required\` or a tool's name decoding is constrained to one call. With a \`response_format\` of JSON the answer is that JSON and no call.

${TIMEOUT_NOTE}`;

export function chatRoutes(services: Services) {
  const { tokenizer, newId } = services;
  return new Hono<AppEnv>().post(
    "/v1/chat/completions",
    describe({
      tag: "Completions",
      summary: "Answer a conversation",
      description: DESCRIPTION,
      response: { "application/json": chatResponse, "text/event-stream": chatChunk },
      errors: [403, 404, 413, 429, 503, 504],
    }),
    jsonBody(chatRequest),
    async (c) => {
      const body = c.req.valid("json");
      const head = {
        id: newId("chatcmpl"),
        created: unixSeconds(services.now()),
        model: body.model,
        system_fingerprint: "graft" as const,
      };
      const format = formatOf(body);
      const plan = planOf(services, body, format);
      const requests = engineRequests(c, services, body, plan, format, head.id);
      const run = runChoices(c, services, requests, plan.forced ? "tools" : format?.field);
      const context = { tokenizer, body, plan, newId };
      if (body.stream) return streamRun(c, run, (events, send) => writeChunks(context, head, run, events, send));
      const results = await gather(run);
      const choices = results.map((result, index) => ({ index, ...choiceOf(context, result) }));
      const answer: z.output<typeof chatResponse> = {
        ...head,
        object: "chat.completion",
        choices,
        usage: run.usage(),
      };
      return c.json(answer);
    },
  );
}

function planOf({ tokenizer }: Services, body: ChatRequest, format: AskedFormat | undefined): ToolPlan {
  const { tools, ...reading } = planTools(body, tokenizer.chatTemplate);
  if (format && reading.forced)
    throw new ApiError(400, `tool_choice: the answer cannot be a call and follow ${format.field}`, {
      param: "tool_choice",
    });
  return { ...(tools ? { tools } : {}), ...(format ? {} : reading) };
}

function engineRequests(
  c: Context,
  services: Services,
  body: ChatRequest,
  plan: ToolPlan,
  format: AskedFormat | undefined,
  id: string,
): EngineRequest[] {
  if (!body.logprobs && body.top_logprobs)
    throw new ApiError(400, "top_logprobs: needs logprobs", { param: "top_logprobs" });
  const adapter = adapterOf(services, body.model);
  const promptIds = chatPromptIds(services.tokenizer, body, plan.tools, plan.forced?.opens);
  const room = contextLength(services, adapter) - promptIds.length;
  const maxNewTokens = body.max_completion_tokens ?? body.max_tokens ?? Math.max(1, room);
  assertFits(services, adapter, promptIds, maxNewTokens, "messages");
  const constraint = plan.forced?.constraint ?? format?.constraint;
  const deadline = deadlineOf(c);
  return Array.from({ length: body.n ?? 1 }, (_, copy): EngineRequest => ({
    requestId: `${id}-${copy}`,
    promptIds,
    maxNewTokens,
    ...samplingOptions(services.engine.info, body, copy),
    ...(adapter === undefined ? {} : { adapter }),
    ...(body.logprobs ? { logprobs: body.top_logprobs ?? 0 } : {}),
    ...(constraint ? { constraint } : {}),
    ...deadline,
  }));
}
