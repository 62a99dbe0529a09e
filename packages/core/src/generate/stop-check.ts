/** Stop texts, looked for as a text grows. */
import type { Tokenizer } from "../text/index.ts";
import type { IdsRequest } from "./ids-request.ts";

/**
 * The `shouldStop` of a request with stop texts: each new token is decoded once, and only the end of the text where a stop text may lie is searched. A character that is
 * not complete yet is no part of the text.
 */
export function stopCheck(
  stop: readonly string[] | undefined,
  tokenizer: Pick<Tokenizer, "streamDecoder">,
): Pick<IdsRequest, "shouldStop"> {
  const texts = (stop ?? []).filter((text) => text !== "");
  if (texts.length === 0) return {};
  const longest = Math.max(...texts.map((text) => text.length));
  const ends = new Map<number, { readonly decoder: ReturnType<Tokenizer["streamDecoder"]>; text: string }>();
  return {
    shouldStop(newIds, sequence) {
      const end = ends.get(sequence) ?? { decoder: tokenizer.streamDecoder(), text: "" };
      ends.set(sequence, end);
      const text = end.text + end.decoder.push(newIds.at(-1)!);
      end.text = text.slice(Math.max(0, text.length - longest + 1));
      return texts.some((stopText) => text.includes(stopText));
    },
  };
}
