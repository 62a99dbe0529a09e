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
  const { template, cutoffLen, trainOnInputs } = options;
  if (!(Number.isInteger(cutoffLen) && cutoffLen >= 1)) {
    throw new ConfigError(`cutoff_len must be a positive integer, got ${cutoffLen}`);
  }
  const eosId = tokenizer.eosId;
  if (eosId === undefined)
    throw new ConfigError("the tokenizer has no end-of-sequence token; training needs one to end responses with");
  let truncated = 0;
  let unsupervised = 0;
  const examples = rows.map((row) => {
    const full = encodeTruncated(trainingText(template, row), tokenizer, cutoffLen);
    if (full.wasCut) truncated++;
    const ids = [...full.ids];
    if (ids.at(-1) !== eosId && ids.length < cutoffLen) ids.push(eosId);
    const labels = Int32Array.from(ids);
    if (!trainOnInputs) labels.fill(IGNORE, 0, encodeTruncated(template.prompt(row), tokenizer, cutoffLen).ids.length);
    // The first token has nothing before it: its label never counts.
    if (labels.subarray(1).every((label) => label === IGNORE)) unsupervised++;
    return { ids: Int32Array.from(ids), labels };
  });
  if (rows.length > 0 && unsupervised === rows.length) {
    throw new DataError(
      `none of the ${rows.length} rows has a token left to train on: every prompt fills cutoff_len ${cutoffLen}; raise it`,
    );
  }
  return { examples, truncated, unsupervised };
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
