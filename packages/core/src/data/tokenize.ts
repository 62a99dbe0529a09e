/** Rows to token ids and labels, as LLM-Adapters' finetune.py makes them. */
import { ConfigError, DataError } from "../errors/index.ts";
import { trainingText, type PromptTemplate } from "./prompts.ts";
import type { Row } from "./rows.ts";

/** Label of a position that the loss leaves out. */
export const IGNORE = -100;

/** What tokenising needs of a tokenizer. */
export interface ExampleTokenizer {
  encode(text: string, options: { addSpecialTokens: boolean }): readonly number[];
  readonly bosId?: number | undefined;
  readonly eosId?: number | undefined;
}

/** ids, labels: [tokens]. Labels are not shifted; those of the prompt are IGNORE when only the response is trained. */
export interface Example {
  readonly ids: Int32Array;
  readonly labels: Int32Array;
}

/** An example, and whether its row was longer than cutoffLen. */
export interface CutExample extends Example {
  readonly wasCut: boolean;
}

export interface TokenizeOptions {
  readonly template: PromptTemplate;
  /** Longest example in tokens, special tokens counted; longer ones are cut at the end. */
  readonly cutoffLen: number;
  /** False: the labels of the prompt are IGNORE. */
  readonly trainOnInputs: boolean;
}

export interface TokenizedRows {
  readonly examples: Example[];
  /** Rows that were cut at cutoffLen. */
  readonly truncated: number;
  /** Rows of which no label is left: the prompt alone fills cutoffLen. They are kept, as the reference keeps them, and teach nothing. */
  readonly unsupervised: number;
}

/**
 * One example per row. EOS follows the text where it is absent and there is room. With trainOnInputs false, as many labels are IGNORE as the
 * prompt alone has tokens; a tokenizer that merges the prompt's last blanks with the response blurs that border, here as in finetune.py.
 * Throws ConfigError if the tokenizer has no EOS, or cutoffLen is no positive integer; DataError if no row has a label left.
 */
export function tokenizeRows(
  rows: readonly Row[],
  tokenizer: ExampleTokenizer,
  options: TokenizeOptions,
): TokenizedRows {
  const toExample = instructionExamples(tokenizer, options);
  return tally(rows.map(toExample), options.cutoffLen);
}

/** What makes the example of a row in tokenizeRows. Throws ConfigError as it does. */
export function instructionExamples(
  tokenizer: ExampleTokenizer,
  { template, cutoffLen, trainOnInputs }: TokenizeOptions,
): (row: Row) => CutExample {
  const eosId = endToken(tokenizer, cutoffLen);
  return (row) => {
    const { ids, wasCut } = encodeEnded(trainingText(template, row), tokenizer, eosId, cutoffLen);
    const labels = Int32Array.from(ids);
    if (!trainOnInputs) labels.fill(IGNORE, 0, encodeTruncated(template.prompt(row), tokenizer, cutoffLen).ids.length);
    return { ids: Int32Array.from(ids), labels, wasCut };
  };
}

/** The token that ends examples. Throws ConfigError if there is none, or cutoffLen is no positive integer. */
export function endToken({ eosId }: ExampleTokenizer, cutoffLen: number): number {
  if (!(Number.isInteger(cutoffLen) && cutoffLen >= 1)) {
    throw new ConfigError(`cutoff_len must be a positive integer, got ${cutoffLen}`);
  }
  if (eosId === undefined)
    throw new ConfigError("the tokenizer has no end-of-sequence token; training needs one to end responses with");
  return eosId;
}

/** Examples with the counts of what was cut. Throws DataError if no example has a label left. */
export function tally(cut: readonly CutExample[], cutoffLen: number): TokenizedRows {
  // The first token has nothing before it: its label never counts.
  const unsupervised = cut.filter(({ labels }) => labels.subarray(1).every((label) => label === IGNORE)).length;
  if (cut.length > 0 && unsupervised === cut.length) {
    throw new DataError(
      `none of the ${cut.length} rows has a token left to train on: every prompt fills cutoff_len ${cutoffLen}; raise it`,
    );
  }
  const truncated = cut.filter(({ wasCut }) => wasCut).length;
  return { examples: cut.map(({ ids, labels }) => ({ ids, labels })), truncated, unsupervised };
}

/** encodeTruncated, with EOS behind the text where it is absent and there is room. */
export function encodeEnded(
  text: string,
  tokenizer: ExampleTokenizer,
  eosId: number,
  limit: number,
): { ids: number[]; wasCut: boolean } {
  const { ids: encoded, wasCut } = encodeTruncated(text, tokenizer, limit);
  const ids = [...encoded];
  if (ids.at(-1) !== eosId && ids.length < limit) ids.push(eosId);
  return { ids, wasCut };
}

/** Tokens that both begin with. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  const end = a.findIndex((id, i) => id !== b[i]);
  return end < 0 ? a.length : end;
}

/** Encodes with special tokens and cuts as transformers' truncation does: the text gets shorter, the special tokens around it stay. */
function encodeTruncated(
  text: string,
  tokenizer: ExampleTokenizer,
  limit: number,
): { ids: readonly number[]; wasCut: boolean } {
  const full = tokenizer.encode(text, { addSpecialTokens: true });
  if (full.length <= limit) return { ids: full, wasCut: false };
  const plain = tokenizer.encode(text, { addSpecialTokens: false });
  const specials = full.length - plain.length;
  const before = leadingSpecials(full, plain, specials);
  const after = specials - before;
  const kept = Math.max(0, limit - specials);
  const ids = [...full.slice(0, before + kept), ...full.slice(full.length - after)];
  return { ids: ids.slice(0, limit), wasCut: true };
}

/** How many of the special tokens stand before the text. */
function leadingSpecials(full: readonly number[], plain: readonly number[], specials: number): number {
  for (let before = specials; before >= 0; before--) {
    if (plain.every((id, i) => full[before + i] === id)) return before;
  }
  return specials;
}
