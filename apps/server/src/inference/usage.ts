/** Tokens of a request, as OpenAI counts them. */
import type { EngineRequest } from "@graft/core/engine";
import { z } from "zod";
import type { ChoiceEvent, Run } from "./generation.ts";
import type { StreamOptions } from "./sampling.ts";

const count = z.int().min(0);

export const usageSchema = z.object({
  prompt_tokens: count.describe("of each prompt once, however many answers it gets"),
  completion_tokens: count.describe("of all answers, best_of's too; end tokens are not counted"),
  total_tokens: count,
  prompt_tokens_details: z.object({
    cached_tokens: count.describe("tokens of the prompts that the prefix cache had"),
    audio_tokens: count,
  }),
  completion_tokens_details: z.object({
    reasoning_tokens: count,
    accepted_prediction_tokens: count,
    rejected_prediction_tokens: count,
    audio_tokens: count,
  }),
});
export type Usage = z.output<typeof usageSchema>;

export interface UsageCounter {
  count(event: ChoiceEvent): void;
  /** So far. */
  usage(): Usage;
}

/** Requests with the same array of prompt ids are answers to one prompt; of these the one that found least in the cache says what the cache had. */
export function createUsageCounter(requests: readonly EngineRequest[]): UsageCounter {
  const prompts = new Set(requests.map(({ promptIds }) => promptIds));
  const cached = new Map<readonly number[], number>();
  let promptTokens = 0;
  for (const { length } of prompts) promptTokens += length;
  let completionTokens = 0;
  return {
    count({ index, event }) {
      if (event.type === "token") completionTokens++;
      if (event.type !== "finish") return;
      const { promptIds } = requests[index]!;
      cached.set(promptIds, Math.min(event.cachedTokens, cached.get(promptIds) ?? Infinity));
    },
    usage: () => ({
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
      prompt_tokens_details: { cached_tokens: cached.values().reduce((sum, n) => sum + n, 0), audio_tokens: 0 },
      completion_tokens_details: {
        reasoning_tokens: 0,
        accepted_prediction_tokens: 0,
        rejected_prediction_tokens: 0,
        audio_tokens: 0,
      },
    }),
  };
}

/** The usage in the chunks of a stream: with include_usage there is a last chunk that has it, and all others say null or, with continuous_usage_stats, what it is so far. */
export function usageFields(
  options: StreamOptions,
  run: Run,
): {
  ofChunk(): { readonly usage?: Usage | null };
  ofLast(): Usage | undefined;
} {
  const isIncluded = options?.include_usage === true;
  return {
    ofChunk() {
      if (!isIncluded) return {};
      return { usage: options.continuous_usage_stats ? run.usage() : null };
    },
    ofLast: () => (isIncluded ? run.usage() : undefined),
  };
}
