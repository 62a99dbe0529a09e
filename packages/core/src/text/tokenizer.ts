/** Text to token ids and back, from a Hugging Face folder. */
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { CheckpointError, ConfigError } from "../errors/index.ts";
import { readJson } from "../io/json.ts";

export interface EncodeOptions {
  /** Whatever the tokenizer adds to a whole text: most often a beginning-of-sequence token. */
  readonly addSpecialTokens: boolean;
}

export interface Tokenizer {
  readonly vocabSize: number;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly padId: number | undefined;
  readonly unkId: number | undefined;
  /** Jinja source, where the model has one. */
  readonly chatTemplate: string | undefined;
  encode(text: string, options: EncodeOptions): number[];
  decode(ids: readonly number[], options?: { readonly skipSpecialTokens?: boolean }): string;
  tokenOf(id: number): string | undefined;
  /** Text for ids that arrive one by one: never half a character, the same in sum as decoding all at once. */
  streamDecoder(options?: { readonly skipSpecialTokens?: boolean }): StreamDecoder;
}

export interface StreamDecoder {
  /** Text that this id completes; empty while a character is incomplete. */
  push(id: number): string;
  /** What is left at the end. */
  flush(): string;
}

const token = z.union([z.string(), z.looseObject({ content: z.string() })]).nullish();
const configSchema = z.looseObject({
  bos_token: token,
  eos_token: token,
  pad_token: token,
  unk_token: token,
  chat_template: z.union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))]).nullish(),
});

/** Reads tokenizer.json and tokenizer_config.json of a folder. Throws CheckpointError or ConfigError naming the file. */
export function loadTokenizer(folder: string): Tokenizer {
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) throw new CheckpointError(`${folder}: has no tokenizer.json`);
  const json = readJson(path, z.looseObject({ model: z.looseObject({}) }));
  const configPath = join(folder, "tokenizer_config.json");
  const config = existsSync(configPath) ? readJson(configPath, configSchema) : configSchema.parse({});
  let hub: HubTokenizer;
  try {
    hub = new HubTokenizer(json, config);
  } catch (cause) {
    throw new ConfigError(`${path}: cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const idOf = (value: z.output<typeof token>): number | undefined => {
    const text = typeof value === "string" ? value : value?.content;
    return text === undefined ? undefined : hub.token_to_id(text);
  };
  const ids = [...hub.get_vocab(true).values()];
  const decode = (list: readonly number[], skip: boolean): string =>
    list.length === 0 ? "" : hub.decode([...list], { skip_special_tokens: skip, clean_up_tokenization_spaces: false });
  return {
    vocabSize: ids.reduce((a, b) => Math.max(a, b), -1) + 1,
    bosId: idOf(config.bos_token),
    eosId: idOf(config.eos_token),
    padId: idOf(config.pad_token),
    unkId: idOf(config.unk_token),
    chatTemplate: chatTemplateOf(folder, config.chat_template),
    // The library returns nothing for the empty text.
    encode: (text, { addSpecialTokens }) =>
      text === "" && !addSpecialTokens ? [] : hub.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    decode: (list, options) => decode(list, options?.skipSpecialTokens ?? true),
    tokenOf: (id) => hub.id_to_token(id),
    streamDecoder: (options) => streamDecoder((list) => decode(list, options?.skipSpecialTokens ?? true)),
  };
}

function chatTemplateOf(folder: string, own: z.output<typeof configSchema>["chat_template"]): string | undefined {
  if (typeof own === "string") return own;
  if (own && own.length > 0) return (own.find((entry) => entry.name === "default") ?? own[0]!).template;
  const path = join(folder, "chat_template.jinja");
  return existsSync(path) ? readTemplate(path) : undefined;
}

function readTemplate(path: string): string {
  return new TextDecoder().decode(readFileSync(path));
}

/**
 * Decodes a growing list from a point where the text was complete: decoders look at neighbours (blanks before words, bytes of one character), so one id alone
 * does not tell its text. As transformers' TextStreamer and vLLM's incremental detokenizer.
 */
function streamDecoder(decode: (ids: readonly number[]) => string): StreamDecoder {
  let ids: number[] = [];
  let given = "";
  return {
    push(id) {
      ids.push(id);
      const text = decode(ids);
      // The replacement character stands for a character whose bytes are not all there.
      if (text.endsWith("\uFFFD") || !text.startsWith(given)) return "";
      const fresh = text.slice(given.length);
      given = text;
      if (ids.length > 32) {
        // Keep a short tail as context, so that long outputs do not cost quadratic time.
        ids = ids.slice(-8);
        given = decode(ids);
      }
      return fresh;
    },
    flush() {
      const text = decode(ids);
      const fresh = text.startsWith(given) ? text.slice(given.length) : "";
      given = text;
      return fresh;
    },
  };
}
