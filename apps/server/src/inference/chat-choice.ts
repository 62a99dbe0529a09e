/** Answers of /v1/chat/completions, whole and in chunks. */
import type { Tokenizer } from "@graft/core/text";
import { joiner } from "./answer-text.ts";
import type { ChatChoice, ChatChunk, ChatHead, ChatRequest, ToolCall } from "./chat-schema.ts";
import { type ChoiceEvent, type ChoiceResult, finishReasonOf, type Run } from "./generation.ts";
import { chatLogprob } from "./logprobs.ts";
import type { Send } from "./stream.ts";
import type { Piece } from "./tool-calls.ts";
import type { ToolPlan } from "./tool-choice.ts";
import { usageFields } from "./usage.ts";

/** What reading the answers of a request needs. */
export interface AnswerContext {
  readonly tokenizer: Tokenizer;
  readonly body: ChatRequest;
  readonly plan: ToolPlan;
  readonly newId: (prefix: string) => string;
}

/** A whole answer. */
export function choiceOf(context: AnswerContext, result: ChoiceResult): Omit<ChatChoice, "index"> {
  const { tokenizer, body } = context;
  const answer = readAnswer(context);
  const joined = result.ids.map((id) => answer.blankBefore(id)).join("") + result.text;
  const parts = [answer.push(joined), answer.end()];
  const text = parts.map((part) => part.text).join("");
  const calls = parts.flatMap((part) => part.calls);
  return {
    message: {
      role: "assistant",
      content: calls.length > 0 && text === "" ? null : text,
      refusal: null,
      ...(calls.length > 0 ? { tool_calls: calls } : {}),
    },
    logprobs: body.logprobs
      ? { content: result.logprobs.map((entry) => chatLogprob(tokenizer, entry)), refusal: null }
      : null,
    finish_reason: reasonOf(result.finishReason, calls.length > 0),
  };
}

/** Sends the answers as they grow: together the chunks of one say what choiceOf says of it. A call is sent whole. */
export async function writeChunks(
  context: AnswerContext,
  head: ChatHead,
  run: Run,
  events: AsyncIterable<ChoiceEvent>,
  send: Send,
): Promise<void> {
  const { tokenizer, body } = context;
  const usage = usageFields(body.stream_options, run);
  const sendChoice = (index: number, choice: Partial<ChatChunk["choices"][number]>) => {
    const whole = { index, delta: {}, logprobs: null, finish_reason: null, ...choice };
    const chunk: ChatChunk = { ...head, object: "chat.completion.chunk", choices: [whole], ...usage.ofChunk() };
    return send(chunk);
  };
  const answers = run.requests.map(() => ({ ...readAnswer(context), calls: 0 }));
  for (const index of answers.keys()) await sendChoice(index, { delta: { role: "assistant", content: "" } });
  for await (const { index, event } of events) {
    if (event.type === "prompt") continue;
    const answer = answers[index]!;
    const { text, calls } =
      event.type === "token"
        ? answer.push(answer.blankBefore(event.id) + event.text)
        : joinPieces(answer.push(event.text), answer.end());
    const logprobs =
      body.logprobs && event.type === "token" && event.logprob
        ? { content: [chatLogprob(tokenizer, event.logprob)], refusal: null }
        : null;
    if (text !== "" || logprobs) await sendChoice(index, { delta: { content: text }, logprobs });
    for (const call of calls) await sendChoice(index, { delta: { tool_calls: [{ index: answer.calls++, ...call }] } });
    if (event.type === "finish")
      await sendChoice(index, { finish_reason: reasonOf(finishReasonOf(event), answer.calls > 0) });
  }
  const total = usage.ofLast();
  if (!total) return;
  const last: ChatChunk = { ...head, object: "chat.completion.chunk", choices: [], usage: total };
  await send(last);
}

interface AnswerPiece {
  readonly text: string;
  readonly calls: readonly ToolCall[];
}

/** One answer as it grows: text, and calls with their ids. */
function readAnswer({ tokenizer, body, plan, newId }: AnswerContext) {
  const reader = plan.reader?.();
  let calls = 0;
  const number = (piece: Piece): AnswerPiece => {
    const wanted = body.parallel_tool_calls === false ? piece.calls.slice(0, Math.max(0, 1 - calls)) : piece.calls;
    calls += wanted.length;
    return { text: piece.text, calls: wanted.map((call) => ({ id: newId("call"), type: "function", function: call })) };
  };
  return {
    blankBefore: body.continue_final_message ? joiner(tokenizer) : () => "",
    push: (text: string): AnswerPiece => (reader ? number(reader.push(text)) : { text, calls: [] }),
    end: (): AnswerPiece => (reader ? number(reader.end()) : { text: "", calls: [] }),
  };
}

function joinPieces(a: AnswerPiece, b: AnswerPiece): AnswerPiece {
  return { text: a.text + b.text, calls: [...a.calls, ...b.calls] };
}

/** An answer that was cut off is not done, whatever calls it has. */
function reasonOf(reason: "stop" | "length", hasCalls: boolean): ChatChoice["finish_reason"] {
  return hasCalls && reason === "stop" ? "tool_calls" : reason;
}
