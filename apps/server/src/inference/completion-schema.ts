/** What /v1/completions takes and gives. */
import { z } from "zod";
import { completionLogprobsSchema } from "./logprobs.ts";
import { formatFields } from "./response-format.ts";
import { samplingFields } from "./sampling.ts";
import { usageSchema } from "./usage.ts";

const tokenIds = z.array(z.int().min(0)).min(1);

export const completionRequest = z.object({
  model: z.string().describe("the base, or an adapter"),
  prompt: z.union(
    [z.string(), z.array(z.string()).min(1), tokenIds, z.array(tokenIds).min(1)],
    "must be a text, texts, token ids, or lists of token ids, none of them an empty list",
  ),
  max_tokens: z.int().min(0).nullish().describe("default 16"),
  echo: z.boolean().nullish().describe("the prompt stands before the answer"),
  logprobs: z.int().min(0).max(20).nullish().describe("alternatives of each token; with echo of the prompt's too"),
  best_of: z
    .int()
    .min(1)
    .max(128)
    .nullish()
    .describe("answers computed, of which the n of the highest mean log-probability are given"),
  add_special_tokens: z.boolean().nullish().describe("of prompts that are text; default true"),
  suffix: z.null("is not offered: the answer follows the prompt").optional(),
  ...samplingFields,
  ...formatFields,
});
export type CompletionRequest = z.output<typeof completionRequest>;

const head = {
  id: z.string(),
  object: z.literal("text_completion"),
  created: z.int(),
  model: z.string(),
  system_fingerprint: z.literal("graft"),
};
const choice = {
  index: z.int().min(0),
  text: z.string(),
  logprobs: completionLogprobsSchema.nullable(),
};
const finishReason = z.enum(["stop", "length"]);

export const completionResponse = z.object({
  ...head,
  choices: z.array(z.object({ ...choice, finish_reason: finishReason })),
  usage: usageSchema,
});
export type CompletionChoice = z.output<typeof completionResponse>["choices"][number];
export type CompletionHead = Omit<z.output<typeof completionResponse>, "choices" | "usage">;

export const completionChunk = z.object({
  ...head,
  choices: z.array(z.object({ ...choice, finish_reason: finishReason.nullable() })),
  usage: usageSchema.nullish(),
});
