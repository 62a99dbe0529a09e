/** What the chunks of a streamed completion say, of either route. */
import { ApiFailure, errorIn } from "./api-failure.ts";

export type Piece =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "end"; readonly reason: string }
  | { readonly type: "usage"; readonly tokens: number };

interface Chunk {
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: { readonly completion_tokens?: number } | null;
}

/** What one chunk of a stream says. Throws ApiFailure for an error object. */
export function piecesOf(data: string): Piece[] {
  const { message, param } = errorIn(data);
  if (message !== undefined) throw new ApiFailure(500, message, { param: param ?? null });
  const { choices = [], usage } = JSON.parse(data) as Chunk;
  const pieces: Piece[] = [];
  for (const { text, delta, finish_reason: reason } of choices) {
    const more = text ?? delta?.content ?? "";
    if (more !== "") pieces.push({ type: "text", text: more });
    if (reason) pieces.push({ type: "end", reason });
  }
  if (usage?.completion_tokens !== undefined) pieces.push({ type: "usage", tokens: usage.completion_tokens });
  return pieces;
}
