/** Sampling fields that completions and chat share. */
import type { EngineInfo, EngineRequest } from "@graft/core/engine";
import { z } from "zod";
import { ApiError } from "../errors.ts";

/** What would change the answer and is not there must not be passed over in silence. */
function only<T extends boolean | number>(harmless: T, instead: string) {
  return z.literal(harmless, `is not offered; ${instead}`).nullish();
}
function refused(instead: string) {
  return z.null(`is not offered; ${instead}`).optional();
}
const noGrammar = "use response_format with a JSON schema";
const noBeams = "beam search is not served: use graft generate --num-beams";

export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish().describe("default 1; 0 is greedy"),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish().describe("0 and -1: all"),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish().describe("over prompt and answer, as transformers and vLLM"),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string(), z.number().min(-100).max(100))
    .nullish()
    .describe("token id to what is added to its logit"),
  n: z.int().min(1).max(128).nullish(),
  seed: z.int().nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)], "must be a text or a list of at most 16 texts").nullish(),
  stop_token_ids: z.array(z.int().min(0)).max(128).nullish().describe("end the answer like the model's own end tokens"),
  ignore_eos: z.boolean().nullish().describe("the model's own end tokens do not end the answer"),
  stream: z.boolean().nullish(),
  stream_options: z
    .object({
      include_usage: z.boolean().nullish(),
      continuous_usage_stats: z.boolean().nullish().describe("usage so far in each chunk"),
    })
    .nullish(),
  use_beam_search: only(false, noBeams),
  num_beams: only(1, noBeams),
  min_tokens: only(0, "use ignore_eos with max_tokens"),
  skip_special_tokens: only(true, "special tokens stand in the log-probabilities alone"),
  include_stop_str_in_output: only(false, "the answer ends before the stop text"),
  truncate_prompt_tokens: refused("cut the prompt's ids"),
  guided_regex: refused(noGrammar),
  guided_choice: refused(noGrammar),
  guided_grammar: refused(noGrammar),
  structured_outputs: refused(noGrammar),
};

export type StreamOptions = z.output<typeof samplingFields.stream_options>;
type SamplingBody = z.output<z.ZodObject<typeof samplingFields>>;

/** OpenAI's defaults: temperature 1. `copy` numbers the answers to one prompt, so that they differ. Throws ApiError 400 for a token id outside the vocabulary. */
export function samplingOptions(
  info: EngineInfo,
  body: SamplingBody,
  copy: number,
): Pick<EngineRequest, "temperature" | "topP" | "topK" | "minP" | "repetitionPenalty" | "seed" | "stop"> &
  Partial<EngineRequest> {
  const { logit_bias: bias, stop_token_ids: ends, ignore_eos: ignoresEnd } = body;
  return {
    temperature: body.temperature ?? 1,
    topP: body.top_p ?? 1,
    topK: Math.max(0, body.top_k ?? 0),
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    frequencyPenalty: body.frequency_penalty ?? 0,
    presencePenalty: body.presence_penalty ?? 0,
    ...(bias && Object.keys(bias).length > 0 ? { logitBias: biasOf(info, bias) } : {}),
    seed: ((body.seed ?? Math.floor(Math.random() * 2 ** 31)) + copy * 7919) >>> 0,
    stop: typeof body.stop === "string" ? [body.stop] : (body.stop ?? []),
    ...(ends?.length || ignoresEnd ? { eosTokenIds: endsOf(info, ends ?? [], ignoresEnd ?? false) } : {}),
  };
}

function biasOf({ vocabSize }: EngineInfo, bias: Readonly<Record<string, number>>): Record<number, number> {
  const ids = Object.keys(bias);
  const bad = ids.filter((id) => !/^(?:0|[1-9]\d{0,8})$/.test(id) || Number(id) >= vocabSize);
  if (bad.length > 0) throw notInVocabulary("logit_bias", bad, vocabSize);
  return Object.fromEntries(ids.map((id) => [Number(id), bias[id]!]));
}

function endsOf({ vocabSize, eosTokenIds }: EngineInfo, ends: readonly number[], ignoresEnd: boolean): number[] {
  const bad = ends.filter((id) => id >= vocabSize);
  if (bad.length > 0) throw notInVocabulary("stop_token_ids", bad, vocabSize);
  return [...(ignoresEnd ? [] : eosTokenIds), ...ends];
}

function notInVocabulary(param: string, ids: readonly unknown[], vocabSize: number): ApiError {
  const shown = ids.slice(0, 5).map((id) => String(id).slice(0, 40));
  const more = ids.length > shown.length ? ` and ${ids.length - shown.length} more` : "";
  return new ApiError(
    400,
    `${param}: ${shown.join(", ")}${more}: not token ids of this model, whose vocabulary has ${vocabSize}`,
    { param },
  );
}
