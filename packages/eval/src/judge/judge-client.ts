/** The model that judges answers, behind any OpenAI-compatible server. */
import { ConfigError } from "@graft/core/errors";
import { z } from "zod";
import { slots } from "../slots.ts";
import { endpointClient, EndpointError, type EndpointOptions } from "../endpoint-client.ts";
import type { Services } from "../task.ts";

export type AskJudge = NonNullable<Services["askJudge"]>;

export interface JudgeOptions extends EndpointOptions {
  /** The server's name of it. */
  readonly model: string;
  /** Default: 0. */
  readonly temperature?: number;
  /** Longest judgement in tokens; default 2048, as FastChat's. */
  readonly maxTokens?: number;
  /** Requests under way at once; default 4. */
  readonly concurrency?: number;
}

const reply = z.looseObject({
  choices: z
    .array(
      z.looseObject({ message: z.looseObject({ content: z.string().nullish() }), finish_reason: z.string().nullish() }),
    )
    .min(1),
});

/**
 * Asks through chat completions, again where the server is busy. Rejects with EndpointError quoting it, or with the signal's reason.
 * Throws ConfigError for an address that is none and for a concurrency below 1.
 */
export function createJudge({
  model,
  temperature = 0,
  maxTokens = 2048,
  concurrency = 4,
  ...own
}: JudgeOptions): AskJudge {
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw new ConfigError(`concurrency of a judge: must be a whole number of at least 1, not ${concurrency}`);
  const client = endpointClient(own);
  const withSlot = slots(concurrency);
  return (messages, { name, signal }) =>
    withSlot(async () => {
      const body = { model, messages, temperature, max_tokens: maxTokens };
      const { choices } = await client.post("/chat/completions", body, reply, { name, signal });
      const { message, finish_reason } = choices[0]!;
      if (message.content?.trim()) return message.content;
      throw new EndpointError(`${name}: the judge ${model} said nothing (finish_reason ${finish_reason ?? "none"})`);
    }, signal);
}
