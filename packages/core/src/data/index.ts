/** Training data: files to rows, rows to prompts, prompts to tokens, tokens to batches. */
export { createBatches } from "./batches.ts";
export type { Batches, BatchesOptions, BatchPosition } from "./batches.ts";
export { collate } from "./collate.ts";
export type { Batch, CollateOptions } from "./collate.ts";
export { packExamples } from "./pack.ts";
export { DEFAULT_PROMPT_TEMPLATE, findPromptTemplate, promptTemplates, trainingText } from "./prompts.ts";
export type { PromptTemplate, PromptTemplateName } from "./prompts.ts";
export type { JsonElement } from "./_json-elements.ts";
export { parseRows, readJsonElements, readRows, readText } from "./rows.ts";
export type { ReadRowsOptions, Row } from "./rows.ts";
export { lengthGroupedOrder, shuffledOrder, splitValidation } from "./sampler.ts";
export { IGNORE, tokenizeRows } from "./tokenize.ts";
export type { Example, ExampleTokenizer, TokenizedRows, TokenizeOptions } from "./tokenize.ts";
