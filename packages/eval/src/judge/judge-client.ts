/** The model that judges answers, behind any OpenAI-compatible server. */
import { z } from "zod";
import { endpointClient, EndpointError, type EndpointOptions } from "../endpoint-client.ts";
import type { Services } from "../task.ts";

export interface JudgeOptions extends EndpointOptions {
  /** The server's name of it. */
  readonly model: string;
  /** Default: 0. */
  readonly temperature?: number;
  /** Longest judgement in tokens; default 2048, as FastChat's. */
  readonly maxTokens?: number;
}

const reply = z.looseObject({
  choices: z.array(z.looseObject({ message: z.looseObject({ content: z.string().nullish() }) })).min(1),
});

/** Asks through chat completions, again where the server is busy. Rejects with EndpointError quoting it, or with the signal's reason. */
export function createJudge({
  model,
  temperature = 0,
  maxTokens = 2048,
  ...own
}: JudgeOptions): NonNullable<Services["askJudge"]> {
  const client = endpointClient(own);
  return async (messages, { name, signal }) => {
    const body = { model, messages, temperature, max_tokens: maxTokens };
    const { choices } = await client.post("/chat/completions", body, reply, { name, signal });
    const { content } = choices[0]!.message;
    if (!content) throw new EndpointError(`${name}: the judge ${model} said nothing`);
    return content;
  };
}
