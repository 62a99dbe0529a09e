/** A completion as it comes, from either of the two routes. */
import { call } from "./api.ts";
import { ApiFailure } from "./api-failure.ts";
import { type Piece, piecesOf } from "./completion-pieces.ts";
import { readEvents } from "./read-events.ts";

export interface Prompt {
  readonly mode: "chat" | "completion";
  readonly model: string;
  readonly text: string;
  readonly maxTokens: number | undefined;
  readonly temperature: number | undefined;
  readonly seed: number | undefined;
}

/** Throws ApiFailure, also for an error in mid-stream or a stream that ends before its finish reason. */
export async function* streamCompletion(prompt: Prompt, signal: AbortSignal): AsyncGenerator<Piece> {
  const { mode, model, text, maxTokens, temperature, seed } = prompt;
  const body = {
    model,
    ...(mode === "chat" ? { messages: [{ role: "user", content: text }] } : { prompt: text }),
    ...(maxTokens === undefined ? {} : { max_tokens: maxTokens }),
    ...(temperature === undefined ? {} : { temperature }),
    ...(seed === undefined ? {} : { seed }),
    stream: true,
    stream_options: { include_usage: true },
  };
  const response = await call(mode === "chat" ? "/v1/chat/completions" : "/v1/completions", { body, signal });
  let hasEnded = false;
  for await (const { data } of readEvents(response.body as ReadableStream<Uint8Array<ArrayBuffer>>)) {
    if (data === "[DONE]") break;
    for (const piece of piecesOf(data)) {
      hasEnded ||= piece.type === "end";
      yield piece;
    }
  }
  if (!hasEnded) throw new ApiFailure(502, "The answer broke off: the server's stream ended early");
}
