/** One conversation of OpenAI's chat format: {"messages": [{"role", "content", "weight"?, ...}, ...], "tools"?: [...]}. */
import { DataError, suggest } from "../errors/index.ts";
import type { ChatMessage } from "../text/index.ts";
import { describe } from "./rows.ts";

export interface ChatRow {
  /** As templates see them: content is a text. */
  readonly messages: readonly ChatMessage[];
  /** Places of the assistant's messages that are learned: all but those of weight 0. */
  readonly learned: readonly number[];
  readonly tools?: readonly unknown[];
  /** What errors begin with: file, line and row. */
  readonly where: string;
}

const roles = ["system", "developer", "user", "assistant", "tool", "function"];

/**
 * Checks one row. The last message is the assistant's, and one of its messages counts. Fields of messages besides role, content and weight go to the template as they are.
 * Throws DataError beginning with `where` and naming the message and the field.
 */
export function parseChatRow(row: Readonly<Record<string, unknown>>, where: string): ChatRow {
  const { messages, tools } = row;
  if (messages === undefined)
    throw new DataError(`${where}: field "messages" is missing; the row has the fields ${Object.keys(row).join(", ")}`);
  if (!Array.isArray(messages)) throw new DataError(`${where}: messages must be an array, got ${describe(messages)}`);
  if (messages.length === 0) throw new DataError(`${where}: messages is empty; it must hold at least one`);
  if (tools !== undefined && tools !== null && !Array.isArray(tools))
    throw new DataError(`${where}: tools must be an array, got ${describe(tools)}`);
  const parsed = messages.map((message: unknown, i) => parseMessage(message, `${where}: messages[${i}]`));
  if (parsed.at(-1)!.message.role !== "assistant")
    throw new DataError(
      `${where}: the last message must be the assistant's, it is of role ${parsed.at(-1)!.message.role}`,
    );
  const learned = parsed.flatMap(({ isLearned }, i) => (isLearned ? [i] : []));
  if (learned.length === 0)
    throw new DataError(`${where}: every message of the assistant has weight 0; nothing is left to learn`);
  return {
    messages: parsed.map(({ message }) => message),
    learned,
    ...(Array.isArray(tools) && tools.length > 0 ? { tools } : {}),
    where,
  };
}

function parseMessage(value: unknown, where: string): { message: ChatMessage; isLearned: boolean } {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new DataError(`${where} must be an object with role and content, got ${describe(value)}`);
  // JSON.parse gives plain objects, and what is used is checked below.
  const { role, content, weight, ...more } = value as Record<string, unknown>;
  if (typeof role !== "string") throw new DataError(`${where}.role must be a string, got ${describeField(role)}`);
  if (!roles.includes(role)) throw new DataError(`${where}.role: unknown role "${role}"${suggest(role, roles)}`);
  const isAssistant = role === "assistant";
  if (weight !== undefined && weight !== null && weight !== 0 && weight !== 1)
    throw new DataError(`${where}.weight must be 0 or 1, got ${describe(weight)}`);
  if (weight !== undefined && weight !== null && !isAssistant)
    throw new DataError(`${where}.weight: only messages of the assistant have one, this is of role ${role}`);
  const calls = ["tool_calls", "function_call"].filter((name) => more[name] !== undefined && more[name] !== null);
  const isCall = isAssistant && calls.length > 0;
  if ((content === undefined || content === null) && !isCall)
    throw new DataError(`${where}.content must be a string, got ${describeField(content)}`);
  const message = { ...more, role, content: textOf(content, where) };
  if (isAssistant && !isCall && message.content === "")
    throw new DataError(`${where}.content is empty; nothing is there to learn`);
  return { message, isLearned: isAssistant && weight !== 0 };
}

/** The text of a content: a string, or a list of text parts put together. */
function textOf(content: unknown, where: string): string {
  if (content === undefined || content === null) return "";
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) throw new DataError(`${where}.content must be a string, got ${describe(content)}`);
  return content
    .map((part: unknown, i) => {
      const { type, text } = (typeof part === "object" && part !== null ? part : {}) as Record<string, unknown>;
      if (type !== "text" || typeof text !== "string")
        throw new DataError(
          `${where}.content[${i}] must be a part {"type": "text", "text": ...}: models here read text alone`,
        );
      return text;
    })
    .join("");
}

function describeField(value: unknown): string {
  return value === undefined ? "nothing" : describe(value);
}
