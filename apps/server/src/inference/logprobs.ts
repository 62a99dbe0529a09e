/** Log-probabilities in OpenAI's two shapes, and where tokens stand in a text. */
import type { TokenLogprob } from "@graft/core/engine";
import type { Tokenizer } from "@graft/core/text";
import { z } from "zod";

export const completionLogprobsSchema = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: z.array(z.int().min(0)).describe("where each token begins, in code points"),
});
export type CompletionLogprobs = z.output<typeof completionLogprobsSchema>;

const chatToken = z.object({ token: z.string(), logprob: z.number(), bytes: z.array(z.int().min(0).max(255)) });
export const chatLogprobSchema = chatToken.extend({ top_logprobs: z.array(chatToken) });
export type ChatLogprob = z.output<typeof chatLogprobSchema>;

/** A token of a prompt or an answer. Nothing is known of a prompt's first token: nothing stands before it. */
export type LogprobEntry = Omit<TokenLogprob, "logprob"> & { readonly logprob: number | null };

export function promptEntries(
  promptIds: readonly number[],
  logprobs: readonly (TokenLogprob | null)[],
): LogprobEntry[] {
  return logprobs.map((entry, i) => entry ?? { id: promptIds[i]!, logprob: null, top: [] });
}

/**
 * The four lists of completions. A token's number is the same float in token_logprobs and top_logprobs, where the token always stands; of several tokens with the same text
 * the likeliest is there.
 */
export function completionLogprobs(
  tokenizer: Tokenizer,
  entries: readonly LogprobEntry[],
  offsetOf: (id: number) => number,
): CompletionLogprobs {
  const topOf = ({ id, logprob, top }: LogprobEntry) => {
    if (logprob === null) return null;
    const byText = new Map<string, number>();
    for (const one of [...top, { id, logprob }]) {
      const text = tokenText(tokenizer, one.id);
      byText.set(text, Math.max(one.logprob, byText.get(text) ?? one.logprob));
    }
    return Object.fromEntries(byText);
  };
  return {
    tokens: entries.map(({ id }) => tokenText(tokenizer, id)),
    token_logprobs: entries.map(({ logprob }) => logprob),
    top_logprobs: entries.map(topOf),
    text_offset: entries.map(({ id }) => offsetOf(id)),
  };
}

export function joinLogprobs(parts: readonly CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: parts.flatMap(({ tokens }) => tokens),
    token_logprobs: parts.flatMap(({ token_logprobs }) => token_logprobs),
    top_logprobs: parts.flatMap(({ top_logprobs }) => top_logprobs),
    text_offset: parts.flatMap(({ text_offset }) => text_offset),
  };
}

/** An entry of chat. Bytes are the token's own, half a character too. */
export function chatLogprob(tokenizer: Tokenizer, entry: TokenLogprob): ChatLogprob {
  const one = ({ id, logprob }: { readonly id: number; readonly logprob: number }) => ({
    token: tokenText(tokenizer, id),
    logprob,
    bytes: [...(tokenizer.bytesOf(id) ?? [])],
  });
  return { ...one(entry), top_logprobs: entry.top.map(one) };
}

/**
 * Where the text of a token begins, for tokens that come one by one, in code points. Tokens that show nothing begin where the next one does, and
 * all tokens of a character that takes several begin where it does.
 */
export function textOffsets(tokenizer: Tokenizer, begin: number, isContinuation = false): (id: number) => number {
  const decoder = tokenizer.streamDecoder({ isContinuation });
  let at = begin;
  return (id) => {
    const own = at;
    at += codePoints(decoder.push(id));
    return own;
  };
}

export function codePoints(text: string): number {
  return [...text].length;
}

function tokenText(tokenizer: Tokenizer, id: number): string {
  return tokenizer.decode([id], { skipSpecialTokens: false, isContinuation: true });
}
