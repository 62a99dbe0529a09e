/** POST /v1/completions, with echo and logprobs as lm-evaluation-harness reads them. */
import type { EngineRequest } from "@graft/core/engine";
import { type Context, Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { describe, jsonBody } from "../describe.ts";
import { choiceOf, writeChunks } from "../inference/completion-choice.ts";
import {
  type CompletionRequest,
  completionChunk,
  completionRequest,
  completionResponse,
} from "../inference/completion-schema.ts";
import { ApiError } from "../errors.ts";
import {
  adapterOf,
  assertFits,
  type ChoiceResult,
  deadlineOf,
  gather,
  MAX_CHOICES,
  runChoices,
  TIMEOUT_NOTE,
} from "../inference/generation.ts";
import { type AskedFormat, formatOf } from "../inference/response-format.ts";
import { samplingOptions } from "../inference/sampling.ts";
import type { Services } from "../services.ts";
import { streamRun } from "../inference/stream.ts";
import { unixSeconds } from "../unix-seconds.ts";

export function completionRoutes(services: Services) {
  return new Hono<AppEnv>().post(
    "/v1/completions",
    describe({
      tag: "Completions",
      summary: "Continue a text",
      description: `As OpenAI's, for the base and for every adapter. With \`stream\` the answer is server-sent events that end with \`[DONE]\`. ${TIMEOUT_NOTE}`,
      response: { "application/json": completionResponse, "text/event-stream": completionChunk },
      errors: [403, 404, 413, 429, 503, 504],
    }),
    jsonBody(completionRequest),
    async (c) => {
      const body = c.req.valid("json");
      const head = {
        id: services.newId("cmpl"),
        object: "text_completion" as const,
        created: unixSeconds(services.now()),
        model: body.model,
        system_fingerprint: "graft" as const,
      };
      const format = formatOf(body);
      const run = runChoices(c, services, engineRequests(c, services, body, head.id, format), format?.field);
      const { tokenizer } = services;
      if (body.stream)
        return streamRun(c, run, (events, send) => writeChunks(tokenizer, body, head, run, events, send));
      const results = await gather(run);
      const choices = chosen(results, body).map((from, index) => ({
        index,
        ...choiceOf(tokenizer, body, run.requests[from]!, results[from]!),
      }));
      const answer: z.output<typeof completionResponse> = { ...head, choices, usage: run.usage() };
      return c.json(answer);
    },
  );
}

/** For each prompt its answers, as many as there are to choose from. */
function engineRequests(
  c: Context,
  services: Services,
  body: CompletionRequest,
  id: string,
  format: AskedFormat | undefined,
): EngineRequest[] {
  const { model, logprobs } = body;
  const adapter = adapterOf(services, model);
  const maxNewTokens = body.max_tokens ?? 16;
  const copies = copiesOf(body);
  const wantsLogprobs = logprobs !== null && logprobs !== undefined;
  const deadline = deadlineOf(c);
  const prompts = promptsOf(services, body, copies);
  for (const promptIds of prompts) assertFits(services, adapter, promptIds, maxNewTokens, "prompt");
  return prompts.flatMap((promptIds, p) =>
    Array.from({ length: copies }, (_, copy): EngineRequest => ({
      requestId: `${id}-${p}-${copy}`,
      promptIds,
      maxNewTokens,
      ...samplingOptions(services.engine.info, body, copy),
      ...(adapter === undefined ? {} : { adapter }),
      // The best are chosen by them.
      ...(wantsLogprobs || copies > (body.n ?? 1) ? { logprobs: logprobs ?? 0 } : {}),
      ...(body.echo && wantsLogprobs ? { promptLogprobs: true } : {}),
      ...(format ? { constraint: format.constraint } : {}),
      ...deadline,
    })),
  );
}

function copiesOf({ n, best_of: bestOf, stream }: CompletionRequest): number {
  const wanted = n ?? 1;
  const copies = bestOf ?? wanted;
  if (copies < wanted)
    throw new ApiError(400, `best_of: ${copies} is less than n, which is ${wanted}`, { param: "best_of" });
  if (stream && copies > wanted)
    throw new ApiError(400, "best_of: cannot be streamed: which answers are the best is known at the end", {
      param: "best_of",
    });
  return copies;
}

function promptsOf(
  { tokenizer }: Services,
  { prompt, add_special_tokens: addSpecialTokens }: CompletionRequest,
  copies: number,
): number[][] {
  const isOne = typeof prompt === "string" || typeof prompt[0] === "number";
  const prompts = (isOne ? [prompt] : prompt) as readonly (string | number[])[];
  if (prompts.length * copies > MAX_CHOICES)
    throw new ApiError(
      400,
      `prompt: ${prompts.length * copies} answers in one request, at most ${MAX_CHOICES} are given`,
      {
        param: "prompt",
      },
    );
  return prompts.map((one) =>
    typeof one === "string" ? tokenizer.encode(one, { addSpecialTokens: addSpecialTokens ?? true }) : one,
  );
}

/** Numbers of the results that are given out: of each prompt's the n of the highest mean log-probability, best first; all of them where there is nothing to choose. */
function chosen(results: readonly ChoiceResult[], body: CompletionRequest): number[] {
  const copies = copiesOf(body);
  const wanted = body.n ?? 1;
  const numbers = [...results.keys()];
  if (copies === wanted) return numbers;
  return Array.from({ length: results.length / copies }, (_, p) =>
    numbers
      .slice(p * copies, (p + 1) * copies)
      .toSorted((a, b) => meanLogprob(results[b]!) - meanLogprob(results[a]!))
      .slice(0, wanted),
  ).flat();
}

/** Over the tokens of an answer and its end token. */
function meanLogprob({ logprobs, endLogprob }: ChoiceResult): number {
  const all = endLogprob ? [...logprobs, endLogprob] : logprobs;
  return all.length === 0 ? 0 : all.reduce((sum, { logprob }) => sum + logprob, 0) / all.length;
}
