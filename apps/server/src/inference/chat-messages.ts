/** Messages of a chat request to the ids of a prompt. */
import { type ChatTokenizer, encodeChat, renderChat } from "@graft/core/data";
import { ConfigError } from "@graft/core/errors";
import { z } from "zod";
import { ApiError } from "../errors.ts";

const textPart = z.looseObject({ type: z.literal("text"), text: z.string() });
const content = z.union([z.string(), z.array(textPart), z.null()], {
  error: ({ input }) => contentError(input),
});
const toolCall = z.looseObject({
  id: z.string().nullish(),
  type: z.literal("function").nullish(),
  function: z.looseObject({ name: z.string(), arguments: z.string().describe("JSON") }),
});
const message = z
  .looseObject({
    role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
    content: content.optional(),
    tool_calls: z.array(toolCall).nullish(),
  })
  .refine(({ role, content }) => role === "assistant" || (content !== undefined && content !== null), {
    path: ["content"],
    error: "is missing",
  });

export const messagesField = z.array(message).min(1).describe("as OpenAI's; of content parts text alone");
type Message = z.output<typeof message>;

export const templateFields = {
  add_generation_prompt: z.boolean().nullish().describe("default true: the prompt ends where the assistant begins"),
  continue_final_message: z
    .boolean()
    .nullish()
    .describe("the answer goes on from the last message; with add_generation_prompt false"),
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish().describe("further variables of the template"),
  chat_template: z.null("is not offered; the model's own is used").optional(),
};

export interface ChatPrompt extends z.output<z.ZodObject<typeof templateFields>> {
  readonly messages: readonly Message[];
}

/**
 * The prompt in the model's chat template, as training renders and encodes it, and `opens` behind it. Throws ApiError 400 for a model without a template and for messages that it
 * refuses.
 */
export function chatPromptIds(
  tokenizer: ChatTokenizer,
  prompt: ChatPrompt,
  tools?: readonly unknown[],
  opens = "",
): number[] {
  const { continue_final_message: isContinued, add_generation_prompt: addGenerationPrompt } = prompt;
  if (isContinued && addGenerationPrompt !== false)
    throw new ApiError(400, "continue_final_message: needs add_generation_prompt false", {
      param: "continue_final_message",
    });
  const messages = prompt.messages.map((one) => ({ ...one, content: textOf(one.content) }));
  const options = {
    addGenerationPrompt: addGenerationPrompt ?? true,
    tools,
    variables: prompt.chat_template_kwargs ?? undefined,
  };
  const text = refusedAs("messages", () => renderChat(tokenizer, messages, options));
  return encodeChat(tokenizer, (isContinued ? cutBehind(text, messages.at(-1)!.content) : text) + opens);
}

function textOf(given: Message["content"]): string {
  return typeof given === "string" ? given : (given ?? []).map(({ text }) => text).join("");
}

/** The prompt up to the end of its last message, which a template may have trimmed. */
function cutBehind(text: string, last: string): string {
  for (const form of [last, last.trimStart(), last.trim()]) {
    const at = form === "" ? -1 : text.lastIndexOf(form);
    if (at >= 0) return text.slice(0, at + form.length);
  }
  throw new ApiError(400, "continue_final_message: the last message's text is not to be found in the prompt", {
    param: "continue_final_message",
  });
}

function refusedAs<T>(param: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ApiError(400, error.message, { param });
  }
}

function contentError(input: unknown): string {
  if (!Array.isArray(input)) return "must be a text or a list of text parts";
  const bad = input.findIndex((part) => !textPart.safeParse(part).success);
  const type = (input[bad] as { type?: unknown } | null)?.type;
  const what = typeof type === "string" && type !== "text" ? `is of type "${type.slice(0, 40)}"` : "is no text part";
  return `part ${bad} ${what}: only {"type": "text", "text": ...} can be read`;
}
