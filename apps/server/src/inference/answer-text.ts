/** Where an answer's text joins its prompt's. */
import type { Tokenizer } from "@graft/core/text";

/**
 * Called with each token of an answer that stands behind other text: what belongs before the text that the engine gives for it. A SentencePiece decoder takes the
 * blank from the beginning of a text; behind a prompt it stays.
 */
export function joiner(tokenizer: Tokenizer): (id: number) => string {
  const alone = tokenizer.streamDecoder();
  const behind = tokenizer.streamDecoder({ isContinuation: true });
  let hasJoined = false;
  return (id) => {
    if (hasJoined) return "";
    const [own, whole] = [alone.push(id), behind.push(id)];
    hasJoined = whole !== "";
    return whole.endsWith(own) ? whole.slice(0, whole.length - own.length) : "";
  };
}
