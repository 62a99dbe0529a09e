/** Text to token ids and back, from the tokenizer files of a Hugging Face folder. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { CheckpointError, ConfigError } from "../errors/index.ts";
import { readJson } from "../io/json.ts";
import type { StreamDecoder } from "./_detokenizer.ts";
import { loadTokenizerJson } from "./_tokenizer-json.ts";
import { readSentencePiece, sentencePieceVocabulary } from "./_tokenizer-model.ts";
import {
  type AddedToken,
  addedTokensSchema,
  type TokenizerConfig,
  tokenizerConfigSchema,
  type Vocabulary,
} from "./_vocabulary.ts";
import type { SentencePiece } from "./sentencepiece.ts";

export type { StreamDecoder } from "./_detokenizer.ts";

export interface EncodeOptions {
  /** Whatever the tokenizer adds to a whole text: most often a beginning-of-sequence token. */
  readonly addSpecialTokens: boolean;
  /** Text such as `</s>` gives the special token's id (true, the default, as transformers does), or is text like any other. */
  readonly parseSpecial?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out (default true). */
  readonly skipSpecialTokens?: boolean;
  /** The text goes on from earlier text: the blank before its first word stays (default false). */
  readonly isContinuation?: boolean;
}

export interface Tokenizer {
  /** One more than the highest id; a model's own vocabulary may be padded to more. */
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly padId: number | undefined;
  readonly unkId: number | undefined;
  /** Jinja source, where the model has one. */
  readonly chatTemplate: string | undefined;
  /** All templates by name; the one above is "default". */
  readonly chatTemplates: ReadonlyMap<string, string>;
  /** What the tokenizer's original implementation makes of a special token's text: SentencePiece and OpenAI's GPT-2 encoder take it as text. */
  readonly specialsInText: "tokens" | "text";
  encode(text: string, options: EncodeOptions): number[];
  /** Ids outside the vocabulary are left out, bytes that are no UTF-8 become U+FFFD. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The token as the vocabulary spells it, for example "▁the" or "Ġthe". */
  tokenOf(id: number): string | undefined;
  idOf(token: string): number | undefined;
  isSpecial(id: number): boolean;
  /** The bytes that a token stands for behind other text: half a character is possible. Undefined outside the vocabulary. */
  bytesOf(id: number): Uint8Array | undefined;
  /** Text for ids that arrive one by one: never half a character, the same in sum as decoding all at once. */
  streamDecoder(options?: DecodeOptions): StreamDecoder;
}

/**
 * Reads tokenizer.json or tokenizer.model, tokenizer_config.json, special_tokens_map.json and generation_config.json. Throws CheckpointError if the folder has no
 * tokenizer, ConfigError naming the file and the field that does not fit.
 */
export function loadTokenizer(folder: string): Tokenizer {
  const config = readConfig(folder);
  const vocabulary = loadVocabulary(folder, config);
  const chatTemplates = readChatTemplates(folder, config);
  const idOf = (token: string | null | undefined): number | undefined =>
    typeof token === "string" ? vocabulary.idOf(token) : undefined;
  const generation = readOptional(join(folder, "generation_config.json"), generationSchema);
  const eos = generation.eos_token_id;
  const inside = (id: number | null | undefined): number | undefined =>
    typeof id === "number" && id < vocabulary.size ? id : undefined;
  // null in the config says that there is none.
  const special = (token: string | null | undefined, id: number | null | undefined): number | undefined =>
    token === undefined ? inside(id) : idOf(token);
  const kept = (ids: readonly number[], skip: boolean): readonly number[] =>
    skip ? ids.filter((id) => !vocabulary.isSpecial(id)) : ids;
  return {
    vocabSize: vocabulary.size,
    bosId: special(config.bos_token, generation.bos_token_id),
    eosId: special(config.eos_token, Array.isArray(eos) ? eos[0] : eos),
    padId: special(config.pad_token, generation.pad_token_id),
    unkId: idOf(config.unk_token),
    chatTemplate: chatTemplates.get("default"),
    chatTemplates,
    specialsInText: vocabulary.specialsInText,
    encode(text, { addSpecialTokens, parseSpecial = true }) {
      const ids = vocabulary.encode(text, parseSpecial);
      return addSpecialTokens ? [...vocabulary.before, ...ids, ...vocabulary.after] : ids;
    },
    decode: (ids, { skipSpecialTokens = true, isContinuation = false } = {}) =>
      vocabulary.decode(kept(ids, skipSpecialTokens), isContinuation),
    tokenOf: (id) => vocabulary.tokenOf(id),
    idOf,
    isSpecial: (id) => vocabulary.isSpecial(id),
    bytesOf(id) {
      if (vocabulary.tokenOf(id) === undefined) return undefined;
      const text = vocabulary.textOf(id) ?? vocabulary.decode([id], true);
      return typeof text === "string" ? new TextEncoder().encode(text) : text;
    },
    streamDecoder({ skipSpecialTokens = true, isContinuation = false } = {}) {
      const stream = vocabulary.stream(isContinuation);
      return {
        push: (id) => (skipSpecialTokens && vocabulary.isSpecial(id) ? "" : stream.push(id)),
        flush: () => stream.flush(),
      };
    },
  };
}

const generationSchema = z.looseObject({
  bos_token_id: z.int().nullish(),
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
  pad_token_id: z.int().nullish(),
});

/** tokenizer_config.json, with the tokens that only special_tokens_map.json names; null in the first says that there is none. */
function readConfig(folder: string): TokenizerConfig {
  const config = readOptional(join(folder, "tokenizer_config.json"), tokenizerConfigSchema);
  const map = readOptional(join(folder, "special_tokens_map.json"), tokenizerConfigSchema);
  const pick = (name: "bos_token" | "eos_token" | "pad_token" | "unk_token") =>
    config[name] === undefined ? map[name] : config[name];
  return {
    ...config,
    bos_token: pick("bos_token"),
    eos_token: pick("eos_token"),
    pad_token: pick("pad_token"),
    unk_token: pick("unk_token"),
  };
}

function loadVocabulary(folder: string, config: TokenizerConfig): Vocabulary {
  const [json, model] = [join(folder, "tokenizer.json"), join(folder, "tokenizer.model")];
  if (!existsSync(json)) {
    if (!existsSync(model)) throw new CheckpointError(`${folder}: has neither tokenizer.json nor tokenizer.model`);
    return sentencePieceVocabulary(readSentencePiece(model), config, [
      ...readAddedTokens(folder),
      ...config.added_tokens_decoder,
    ]);
  }
  const vocabulary = loadTokenizerJson(json, config);
  const piece = existsSync(model) ? sentencePieceBehind(model, vocabulary) : undefined;
  return piece
    ? sentencePieceVocabulary(piece, config, [
        ...readJson(json, z.looseObject({ added_tokens: addedTokensSchema })).added_tokens,
        ...config.added_tokens_decoder,
      ])
    : vocabulary;
}

/**
 * The SentencePiece model that a tokenizer.json was made from, if it is here and says more: the usual conversion of LLaMA's BPE drops `remove_extra_whitespaces`,
 * so runs of blanks would give other ids than those the model was trained on. A file of another format or another vocabulary is not its source.
 */
function sentencePieceBehind(path: string, vocabulary: Vocabulary): SentencePiece | undefined {
  let piece: SentencePiece;
  try {
    piece = readSentencePiece(path);
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
  const isSource = piece.model.pieces.every(({ text }, id) => vocabulary.tokenOf(id) === text);
  return isSource && piece.model.removeExtraWhitespaces ? piece : undefined;
}

/** added_tokens.json of older folders: text to id. */
function readAddedTokens(folder: string): AddedToken[] {
  const tokens = readOptional(join(folder, "added_tokens.json"), z.record(z.string(), z.int().min(0)));
  return Object.entries(tokens).map(([content, id]) => ({
    id,
    content,
    special: true,
    lstrip: false,
    rstrip: false,
    single_word: false,
  }));
}

/** Templates by name: chat_template.jinja and additional_chat_templates/ if they are there, else those of tokenizer_config.json. */
function readChatTemplates(folder: string, { chat_template: own }: TokenizerConfig): Map<string, string> {
  const templates = new Map<string, string>();
  if (typeof own === "string") templates.set("default", own);
  else for (const { name, template } of own ?? []) templates.set(name, template);
  const file = join(folder, "chat_template.jinja");
  if (existsSync(file)) templates.set("default", readFileSync(file, "utf8"));
  const more = join(folder, "additional_chat_templates");
  for (const name of existsSync(more) ? readdirSync(more) : []) {
    if (name.endsWith(".jinja")) templates.set(name.slice(0, -".jinja".length), readFileSync(join(more, name), "utf8"));
  }
  return templates;
}

function readOptional<T extends z.ZodType>(path: string, schema: T): z.output<T> {
  return existsSync(path) ? readJson(path, schema) : schema.parse({});
}
