/** Conversations to text and tokens: the same for a model that is asked and for one that is trained. */
import {
  applyChatTemplate,
  type ChatMessage,
  type ChatTemplateOptions,
  type ChatTemplateTokens,
  type Tokenizer,
} from "../text/index.ts";

/** What rendering and encoding a conversation need of a tokenizer. */
export type ChatTokenizer = Pick<Tokenizer, "encode" | "tokenOf" | "bosId" | "eosId" | "chatTemplate">;

/** Options of applyChatTemplate but for the tokens, which are the tokenizer's. */
export type RenderChatOptions = Omit<ChatTemplateOptions, keyof ChatTemplateTokens>;

/**
 * The conversation in the model's own template. Messages are OpenAI's: templates see the arguments of calls as objects, and "developer" as "system" where they do not know it.
 * Throws ConfigError as applyChatTemplate.
 */
export function renderChat(
  tokenizer: ChatTokenizer,
  messages: readonly ChatMessage[],
  options: RenderChatOptions,
): string {
  const textOf = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id));
  const { chatTemplate } = tokenizer;
  const seen = messages.map((message) => asTemplatesSee(message, chatTemplate));
  return applyChatTemplate(chatTemplate, seen, {
    ...options,
    bosToken: textOf(tokenizer.bosId),
    eosToken: textOf(tokenizer.eosId),
  });
}

/** Ids of a rendered conversation: its special tokens are those that the template writes, and a beginning-of-sequence token if it writes none. */
export function encodeChat(tokenizer: ChatTokenizer, text: string): number[] {
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  const { bosId } = tokenizer;
  return bosId === undefined || ids[0] === bosId ? ids : [bosId, ...ids];
}

function asTemplatesSee(message: ChatMessage, template: string | undefined): ChatMessage {
  const { role, tool_calls: calls } = message;
  return {
    ...message,
    ...(role === "developer" && !template?.includes("developer") ? { role: "system" } : {}),
    ...(Array.isArray(calls) ? { tool_calls: calls.map(withObject) } : {}),
  };
}

/** A call whose arguments are an object. What is no JSON of one stays as it is: models write such, and it comes back to them. */
function withObject(call: unknown): unknown {
  const { function: called } = (call ?? {}) as { readonly function?: { readonly arguments?: unknown } };
  if (typeof called?.arguments !== "string") return call;
  try {
    const parsed: unknown = JSON.parse(called.arguments);
    const isObject = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed);
    return isObject ? { ...(call as object), function: { ...called, arguments: parsed } } : call;
  } catch {
    return call;
  }
}
