/** What the two kinds of tokenizer files have in common once they are read. */
import { z } from "zod";
import type { StreamDecoder, TokenText } from "./_detokenizer.ts";

/** A tokenizer without the tokens it puts around a text. */
export interface Vocabulary {
  /** One more than the highest id. */
  readonly size: number;
  /** Ids of a text; with `parseSpecial` the text of a special token gives its id, else it is text like any other. */
  encode(text: string, parseSpecial: boolean): number[];
  /** Special tokens that belong around a whole text. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  idOf(token: string): number | undefined;
  tokenOf(id: number): string | undefined;
  /** Bytes that a token stands for where it is not the first; undefined where the file's decoder does not say. */
  textOf(id: number): TokenText | undefined;
  isSpecial(id: number): boolean;
  decode(ids: readonly number[], isContinuation: boolean): string;
  stream(isContinuation: boolean): StreamDecoder;
  /** What the tokenizer's own first implementation makes of a special token's text. */
  readonly specialsInText: "tokens" | "text";
}

const tokenSchema = z
  .union([z.string(), z.looseObject({ content: z.string() })])
  .transform((t) => (typeof t === "string" ? t : t.content));

const addedTokenSchema = z.looseObject({
  content: z.string(),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  single_word: z.boolean().default(false),
  normalized: z.boolean().optional(),
  special: z.boolean().default(false),
});
export type AddedToken = z.output<typeof addedTokenSchema> & { readonly id: number };

/** What is used of tokenizer_config.json; special_tokens_map.json has a part of the same fields. */
export const tokenizerConfigSchema = z.looseObject({
  tokenizer_class: z.string().nullish(),
  bos_token: tokenSchema.nullish(),
  eos_token: tokenSchema.nullish(),
  pad_token: tokenSchema.nullish(),
  unk_token: tokenSchema.nullish(),
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
  legacy: z.boolean().nullish(),
  additional_special_tokens: z.array(tokenSchema).nullish(),
  added_tokens_decoder: z
    .record(z.string().regex(/^\d+$/), addedTokenSchema)
    .transform((tokens) => Object.entries(tokens).map(([id, token]): AddedToken => ({ ...token, id: Number(id) })))
    .default([]),
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});
export type TokenizerConfig = z.output<typeof tokenizerConfigSchema>;

/** added_tokens of tokenizer.json. */
export const addedTokensSchema = z.array(addedTokenSchema.extend({ id: z.int().min(0) })).default([]);
