/** Sampling fields that completions and chat share. */
import type { GenerateOptions } from "@graft/core/generate";
import { z } from "zod";

const noBeams = "beam search is not served; use graft generate --num-beams";
const noPenalty = "is not offered; use repetition_penalty";

export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  n: z.int().min(1).max(128).nullish(),
  seed: z.int().nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).nullish(),
  stream: z.boolean().nullish(),
  // What would change the answer and is not there must not be passed over in silence.
  use_beam_search: z.literal(false, noBeams).nullish(),
  num_beams: z.literal(1, noBeams).nullish(),
  frequency_penalty: z.literal(0, noPenalty).nullish(),
  presence_penalty: z.literal(0, noPenalty).nullish(),
  logit_bias: z.strictObject({}, "is not offered").nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
};

type SamplingBody = z.output<z.ZodObject<typeof samplingFields>>;

/** OpenAI's defaults: temperature 1. `copy` numbers the choices of one prompt, so that they differ. */
export function samplingOptions(body: SamplingBody, copy: number): Omit<GenerateOptions, "maxNewTokens"> {
  const stop = typeof body.stop === "string" ? [body.stop] : (body.stop ?? []);
  return {
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    topK: Math.max(0, body.top_k ?? 0),
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    seed: ((body.seed ?? Math.floor(Math.random() * 2 ** 31)) + copy * 7919) >>> 0,
    stop,
  };
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export function usageOf(prompt: number, completion: number): Usage {
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}
