/** Answers of /v1/completions, whole and in chunks. */
import type { EngineRequest } from "@graft/core/engine";
import type { Tokenizer } from "@graft/core/text";
import type { z } from "zod";
import { joiner } from "./answer-text.ts";
import type { CompletionChoice, completionChunk, CompletionHead, CompletionRequest } from "./completion-schema.ts";
import { type ChoiceEvent, type ChoiceResult, finishReasonOf, type Run } from "./generation.ts";
import { codePoints, completionLogprobs, joinLogprobs, promptEntries, textOffsets } from "./logprobs.ts";
import type { Send } from "./stream.ts";
import { usageFields } from "./usage.ts";

/** A whole answer. */
export function choiceOf(
  tokenizer: Tokenizer,
  { echo, logprobs }: CompletionRequest,
  { promptIds }: EngineRequest,
  result: ChoiceResult,
): Omit<CompletionChoice, "index"> {
  const text = answerText(tokenizer, promptIds, echo === true);
  const blank = result.ids.map((id) => text.blankBefore(id)).join("");
  const entries = result.endLogprob ? [...result.logprobs, result.endLogprob] : result.logprobs;
  return {
    text: text.echoed + blank + result.text,
    logprobs:
      logprobs === null || logprobs === undefined
        ? null
        : joinLogprobs([
            completionLogprobs(tokenizer, promptEntries(promptIds, result.promptLogprobs), textOffsets(tokenizer, 0)),
            completionLogprobs(tokenizer, entries, text.offsetOf),
          ]),
    finish_reason: result.finishReason,
  };
}

/** Sends the answers as they grow: together the chunks of one say what choiceOf says of it. */
export async function writeChunks(
  tokenizer: Tokenizer,
  body: CompletionRequest,
  head: CompletionHead,
  run: Run,
  events: AsyncIterable<ChoiceEvent>,
  send: Send,
): Promise<void> {
  type Chunk = z.output<typeof completionChunk>;
  const usage = usageFields(body.stream_options, run);
  const sendChoice = (index: number, choice: Omit<Chunk["choices"][number], "index">) => {
    const chunk: Chunk = { ...head, choices: [{ index, ...choice }], ...usage.ofChunk() };
    return send(chunk);
  };
  const wantsLogprobs = body.logprobs !== null && body.logprobs !== undefined;
  const texts = run.requests.map(({ promptIds }) => answerText(tokenizer, promptIds, body.echo === true));
  // With log-probabilities the prompt comes with its own.
  if (body.echo && !wantsLogprobs)
    for (const [index, { echoed }] of texts.entries())
      await sendChoice(index, { text: echoed, logprobs: null, finish_reason: null });
  for await (const { index, event } of events) {
    const { echoed, blankBefore, offsetOf } = texts[index]!;
    if (event.type === "prompt") {
      const entries = promptEntries(run.requests[index]!.promptIds, event.logprobs);
      const logprobs = completionLogprobs(tokenizer, entries, textOffsets(tokenizer, 0));
      await sendChoice(index, { text: echoed, logprobs, finish_reason: null });
      continue;
    }
    const logprobs = wantsLogprobs && event.logprob ? completionLogprobs(tokenizer, [event.logprob], offsetOf) : null;
    if (event.type === "token") {
      const text = blankBefore(event.id) + event.text;
      if (text !== "" || logprobs) await sendChoice(index, { text, logprobs, finish_reason: null });
    } else await sendChoice(index, { text: event.text, logprobs, finish_reason: finishReasonOf(event) });
  }
  const last: Chunk | undefined = usage.ofLast() && { ...head, choices: [], usage: usage.ofLast() };
  if (last) await send(last);
}

interface AnswerText {
  /** The prompt, where it is asked for. */
  readonly echoed: string;
  /** Called with each token: text that belongs before the engine's text for it. */
  blankBefore(id: number): string;
  /** Called with each token: where it begins. */
  offsetOf(id: number): number;
}

function answerText(tokenizer: Tokenizer, promptIds: readonly number[], echo: boolean): AnswerText {
  const echoed = echo ? tokenizer.decode(promptIds) : "";
  const isBehindText = echoed !== "";
  return {
    echoed,
    blankBefore: isBehindText ? joiner(tokenizer) : () => "",
    offsetOf: textOffsets(tokenizer, codePoints(echoed), isBehindText),
  };
}
