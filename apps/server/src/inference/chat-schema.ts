/** What /v1/chat/completions takes and gives. */
import { z } from "zod";
import { messagesField, templateFields } from "./chat-messages.ts";
import { chatLogprobSchema } from "./logprobs.ts";
import { formatFields } from "./response-format.ts";
import { samplingFields } from "./sampling.ts";
import { toolFields } from "./tool-choice.ts";
import { usageSchema } from "./usage.ts";

export const chatRequest = z.object({
  model: z.string().describe("the base, or an adapter"),
  messages: messagesField,
  max_completion_tokens: z.int().min(1).nullish().describe("default: what the context has room for"),
  max_tokens: z.int().min(1).nullish().describe("the old name"),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish().describe("with logprobs"),
  modalities: z.array(z.literal("text", "only text is given")).nullish(),
  ...templateFields,
  ...toolFields,
  ...samplingFields,
  ...formatFields,
});
export type ChatRequest = z.output<typeof chatRequest>;

const head = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.literal("graft") };
const toolCall = z.object({
  id: z.string(),
  type: z.literal("function"),
  function: z.object({ name: z.string(), arguments: z.string().describe("JSON") }),
});
const logprobs = z.object({ content: z.array(chatLogprobSchema), refusal: z.null() }).nullable();
const finishReason = z.enum(["stop", "length", "tool_calls"]);

export const chatResponse = z.object({
  ...head,
  object: z.literal("chat.completion"),
  choices: z.array(
    z.object({
      index: z.int().min(0),
      message: z.object({
        role: z.literal("assistant"),
        content: z.string().nullable().describe("null where there are calls alone"),
        refusal: z.null(),
        tool_calls: z.array(toolCall).optional(),
      }),
      logprobs,
      finish_reason: finishReason,
    }),
  ),
  usage: usageSchema,
});
export type ChatChoice = z.output<typeof chatResponse>["choices"][number];
export type ToolCall = z.output<typeof toolCall>;
export type ChatHead = Omit<z.output<typeof chatResponse>, "object" | "choices" | "usage">;

export const chatChunk = z.object({
  ...head,
  object: z.literal("chat.completion.chunk"),
  choices: z.array(
    z.object({
      index: z.int().min(0),
      delta: z.object({
        role: z.literal("assistant").optional(),
        content: z.string().optional(),
        tool_calls: z.array(toolCall.extend({ index: z.int().min(0) })).optional(),
      }),
      logprobs,
      finish_reason: finishReason.nullable(),
    }),
  ),
  usage: usageSchema.nullish(),
});
export type ChatChunk = z.output<typeof chatChunk>;
