/** A conversation to token ids and labels: the loss is on what the assistant says. */
import { ConfigError, DataError } from "../errors/index.ts";
import { type ChatTokenizer, encodeChat, renderChat } from "./chat-prompt.ts";
import type { ChatRow } from "./chat-row.ts";
import { commonLength, type CutExample, endToken, IGNORE } from "./tokenize.ts";

export interface ChatExampleOptions {
  /** Longest example in tokens; longer ones are cut at the end. */
  readonly cutoffLen: number;
  /** True: the loss is on every token. */
  readonly trainOnInputs: boolean;
}

/** What templates with a date are told: the same rows give the same tokens on any day. */
const today = () => new Date(2025, 0, 1, 12);

/**
 * What makes the example of a conversation. A learned message is what the template writes between the conversation that asks for it (as serving renders and encodes
 * it) and the conversation that ends with it, up to the end token. That is found by rendering both: each must be how the next longer one begins. Where a token lies over
 * the border of prompt and message it is learned. EOS follows the last message where the template writes none. Throws ConfigError as endToken; the function it returns throws
 * DataError naming the row for a model without a template, a template that refuses a row, and one that writes earlier messages otherwise once later ones follow.
 */
export function chatExamples(
  tokenizer: ChatTokenizer,
  { cutoffLen, trainOnInputs }: ChatExampleOptions,
): (row: ChatRow) => CutExample {
  const eosId = endToken(tokenizer, cutoffLen);
  return (row) => {
    if (tokenizer.chatTemplate === undefined)
      throw new DataError(
        `${row.where}: the model has no chat template to render messages with; put one beside it (chat_template.jinja), or give rows of prompt and completion`,
      );
    const count = row.messages.length;
    const whole = render(row, tokenizer, count, false);
    const ids = encodeChat(tokenizer, whole);
    const learned = row.learned.map((i) => {
      const [begin, end] = spanOf(row, tokenizer, i, whole, ids);
      const stop = ids.lastIndexOf(eosId, end - 1);
      return { begin, end: stop >= begin ? stop + 1 : end, hasEnd: stop >= begin, isLast: i === count - 1 };
    });
    const wasCut = ids.length > cutoffLen;
    const isOpen = learned.at(-1)!.isLast && !learned.at(-1)!.hasEnd;
    const all = isOpen ? [...ids, eosId] : ids;
    const labels = new Int32Array(all.length).fill(IGNORE);
    if (trainOnInputs) labels.set(all);
    else for (const { begin, end } of learned) for (let t = begin; t < end; t++) labels[t] = all[t]!;
    if (isOpen) labels[ids.length] = eosId;
    return { ids: Int32Array.from(all.slice(0, cutoffLen)), labels: labels.slice(0, cutoffLen), wasCut };
  };
}

/** Where the tokens of message `i` begin and end in `ids`, those of `whole`. */
function spanOf(
  row: ChatRow,
  tokenizer: ChatTokenizer,
  i: number,
  whole: string,
  ids: readonly number[],
): [begin: number, end: number] {
  const isLast = i === row.messages.length - 1;
  const asked = render(row, tokenizer, i, true);
  const answered = isLast ? whole : render(row, tokenizer, i + 1, false);
  if (!answered.startsWith(asked))
    throw notPrefix(row, i, "what asks for it (with add_generation_prompt) is not how it begins when it is answered");
  if (!whole.startsWith(answered))
    throw notPrefix(
      row,
      i,
      "it is written otherwise once other messages follow; give it weight 0, or end the row with it",
    );
  const begin = commonLength(encodeChat(tokenizer, asked), ids);
  return [begin, isLast ? ids.length : Math.max(begin, commonLength(encodeChat(tokenizer, answered), ids))];
}

function render(row: ChatRow, tokenizer: ChatTokenizer, count: number, addGenerationPrompt: boolean): string {
  try {
    return renderChat(tokenizer, row.messages.slice(0, count), { addGenerationPrompt, tools: row.tools, now: today });
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new DataError(`${row.where}: ${cause.message}`, { cause });
  }
}

function notPrefix(row: ChatRow, i: number, what: string): DataError {
  return new DataError(`${row.where}: messages[${i}]: in the model's chat template ${what}`);
}
