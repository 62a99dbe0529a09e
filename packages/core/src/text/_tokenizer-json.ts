/** The vocabulary of a tokenizer.json, encoded by @huggingface/tokenizers. */
import { Tokenizer } from "@huggingface/tokenizers";
import { z } from "zod";
import { ConfigError } from "../errors/index.ts";
import { readJson } from "../io/json.ts";
import { type Detokenizer, streamTokens, streamWindows, type TokenText } from "./_detokenizer.ts";
import { type AddedToken, addedTokensSchema, type TokenizerConfig, type Vocabulary } from "./_vocabulary.ts";

const fileSchema = z.looseObject({
  added_tokens: addedTokensSchema,
  normalizer: z.unknown().default(null),
  pre_tokenizer: z.unknown().default(null),
  post_processor: z.unknown().default(null),
  decoder: z.looseObject({ type: z.string() }).nullable().default(null),
  model: z.looseObject({ type: z.string().optional(), unk_token: z.string().nullish(), vocab: z.unknown() }),
});

/** Reads the file. Throws ConfigError naming it if it cannot be used. */
export function loadTokenizerJson(path: string, config: TokenizerConfig): Vocabulary {
  const file = readJson(path, fileSchema);
  const known = new Set(file.added_tokens.map((token) => token.content));
  // transformers adds the tokens that only tokenizer_config.json has.
  const added = [...file.added_tokens, ...config.added_tokens_decoder.filter((token) => !known.has(token.content))];
  const extraSpecial = new Set(config.additional_special_tokens ?? []);
  const isSpecialToken = (token: AddedToken): boolean => token.special || extraSpecial.has(token.content);
  checkIds(path, file.model.vocab, added);
  // The library checks a part of the file when it is read, and finds out about the rest when it encodes and decodes.
  const attempt = <T>(act: () => T): T => {
    try {
      return act();
    } catch (cause) {
      const said = cause instanceof Error ? cause.message : String(cause);
      throw new ConfigError(`${path}: cannot be used: ${said}`, { cause });
    }
  };
  const make = (tokens: readonly AddedToken[]): Tokenizer =>
    attempt(
      () =>
        new Tokenizer(
          { ...file, pre_tokenizer: exactByteLevel(file.pre_tokenizer), added_tokens: [...tokens] },
          // The library takes WordLevel's unknown token from the config, which need not name it.
          { unk_token: file.model.unk_token ?? config.unk_token },
        ),
    );
  const full = make(added);
  // OpenAI's GPT-2 encoder has no added tokens: <|endoftext|> in a text is seven tokens.
  const isOpenAI = config.tokenizer_class === "GPT2Tokenizer";
  let plain: Tokenizer | undefined; // without special tokens; many never need it
  const encode = (text: string, parseSpecial: boolean): number[] => {
    const tokenizer = parseSpecial
      ? full
      : (plain ??= make(isOpenAI ? [] : added.filter((token) => !isSpecialToken(token))));
    const { ids, tokens } = attempt(() => tokenizer.encode(text.toWellFormed(), { add_special_tokens: false }));
    const missing = ids.findIndex((id) => id === undefined);
    if (missing >= 0)
      throw new ConfigError(`${path}: has no token for ${JSON.stringify(tokens[missing])} and no unknown token`);
    return ids;
  };
  const size = [...full.get_vocab(true).values()].reduce((a, b) => Math.max(a, b), -1) + 1;
  const addedById = new Map(added.map((token) => [token.id, token]));
  const tokenOf = (id: number): string | undefined => full.id_to_token(id);
  const detokenizer = detokenizerOf(file.decoder, tokenOf, (id) => addedById.has(id));
  const decodeAll = (ids: readonly number[]): string => {
    const inside = ids.filter((id) => tokenOf(id) !== undefined);
    return inside.length === 0 ? "" : attempt(() => full.decode(inside, { clean_up_tokenization_spaces: false }));
  };
  return {
    size,
    encode,
    ...attempt(() => tokensAround(full, config)),
    idOf: (token) => full.token_to_id(token),
    tokenOf,
    textOf: (id) => detokenizer?.textOf(id),
    isSpecial: (id) => {
      const token = addedById.get(id);
      return token !== undefined && isSpecialToken(token);
    },
    stream: (isContinuation) => (detokenizer ? streamTokens(detokenizer, isContinuation) : streamWindows(decodeAll)),
    decode: (ids, isContinuation) => {
      if (!detokenizer) return decodeAll(ids);
      const stream = streamTokens(detokenizer, isContinuation);
      return ids.map((id) => stream.push(id)).join("") + stream.flush();
    },
    specialsInText: isOpenAI ? "text" : "tokens",
  };
}

/** GPT-2's pattern (encoder.py), which ByteLevel applies where the file gives none. */
const GPT2_PATTERN = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const gpt2ByteLevel = z.looseObject({
  type: z.literal("ByteLevel"),
  use_regex: z.literal(true).default(true),
  add_prefix_space: z.literal(false),
});

/**
 * The library (0.2.0) applies ByteLevel's own pattern with JavaScript's white space, which has U+FEFF and lacks U+0085; patterns of Split it translates. So the same
 * pattern is given as a Split.
 */
function exactByteLevel(preTokenizer: unknown): unknown {
  const byteLevel = gpt2ByteLevel.safeParse(preTokenizer).data;
  if (!byteLevel) return preTokenizer;
  const split = { type: "Split", pattern: { Regex: GPT2_PATTERN }, behavior: "Isolated", invert: false };
  return { type: "Sequence", pretokenizers: [split, { ...byteLevel, use_regex: false }] };
}

/** More than any model has; the library makes a list as long as the highest id. */
const MAX_ID = 1 << 24;

function checkIds(path: string, vocab: unknown, added: readonly AddedToken[]): void {
  const isId = (id: unknown): boolean => typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MAX_ID;
  const named: (readonly [string, unknown])[] = Array.isArray(vocab) ? [] : Object.entries(vocab ?? {});
  for (const [token, id] of [...named, ...added.map(({ content, id }) => [content, id] as const)]) {
    if (!isId(id))
      throw new ConfigError(
        `${path}: token ${JSON.stringify(token)} has the id ${JSON.stringify(id)}, expected an integer from 0 to ${MAX_ID - 1}`,
      );
  }
}

/** What the file's post-processor adds; for the LLaMA family the config's switches win, as in transformers. */
function tokensAround(tokenizer: Tokenizer, config: TokenizerConfig): { before: number[]; after: number[] } {
  const probe = tokenizer.encode("a", { add_special_tokens: false }).ids;
  const whole = tokenizer.encode("a", { add_special_tokens: true }).ids;
  const start = whole.findIndex(
    (_, i) => probe.every((id, j) => whole[i + j] === id) && whole.length - i >= probe.length,
  );
  let before = whole.slice(0, Math.max(0, start));
  let after = whole.slice(start + probe.length);
  if (/^(Code)?(Llama|Gemma)Tokenizer/.test(config.tokenizer_class ?? "")) {
    const own = (add: boolean | null | undefined, token: string | null | undefined, fallback: number[]): number[] => {
      const id = typeof token === "string" ? tokenizer.token_to_id(token) : undefined;
      return typeof add !== "boolean" || id === undefined ? fallback : add ? [id] : [];
    };
    before = own(config.add_bos_token, config.bos_token, before);
    after = own(config.add_eos_token, config.eos_token, after);
  }
  return { before, after };
}

const stepSchema = z.discriminatedUnion("type", [
  z.looseObject({
    type: z.literal("Replace"),
    pattern: z.object({ String: z.literal("\u2581") }),
    content: z.literal(" "),
  }),
  z.looseObject({ type: z.literal("ByteFallback") }),
  z.looseObject({ type: z.literal("Fuse") }),
  z.looseObject({ type: z.literal("Strip"), content: z.literal(" "), start: z.int().min(0), stop: z.literal(0) }),
  z.looseObject({ type: z.literal("ByteLevel") }),
]);
const stepsSchema = z.union([
  stepSchema.transform((step) => [step]),
  z
    .looseObject({ type: z.literal("Sequence"), decoders: z.array(stepSchema) })
    .transform((sequence) => sequence.decoders),
]);

/** Token by token, for the two families of decoders that language models use: byte-level, and LLaMA's. Undefined for others. */
function detokenizerOf(
  decoder: unknown,
  tokenOf: (id: number) => string | undefined,
  isAdded: (id: number) => boolean,
): Detokenizer | undefined {
  const steps = stepsSchema.safeParse(decoder).data;
  const cache = new Map<number, TokenText>();
  const cached =
    (compute: (token: string, id: number) => TokenText) =>
    (id: number): TokenText | undefined => {
      const known = cache.get(id);
      if (known !== undefined) return known;
      const token = tokenOf(id);
      if (token === undefined) return undefined;
      const text = compute(token, id);
      cache.set(id, text);
      return text;
    };
  if (!steps) return undefined;
  if (steps.some((step) => step.type === "ByteLevel")) {
    if (steps.length > 1) return undefined;
    return {
      leadingBlanks: 0,
      textOf: cached((token, id) => (isAdded(id) ? token : (byteLevelBytes(token) ?? token))),
    };
  }
  const has = (type: string): boolean => steps.some((step) => step.type === type);
  const strip = steps.find((step) => step.type === "Strip");
  // Without Fuse before it, Strip would work on each token.
  if (strip && steps.indexOf(strip) < steps.findIndex((step) => step.type === "Fuse")) return undefined;
  if (strip && !has("Fuse")) return undefined;
  return {
    leadingBlanks: strip?.start ?? 0,
    textOf: cached((token) => {
      const hex = has("ByteFallback") ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
      if (hex !== undefined) return Uint8Array.of(Number.parseInt(hex, 16));
      return has("Replace") ? token.replaceAll("\u2581", " ") : token;
    }),
  };
}

let byteOfChar: Map<string, number> | undefined;

/** GPT-2's byte-level alphabet (encoder.py, bytes_to_unicode): printable bytes are themselves, the others are U+0100 and up in order. */
function byteLevelBytes(token: string): Uint8Array | undefined {
  if (!byteOfChar) {
    byteOfChar = new Map();
    let next = 256;
    for (let byte = 0; byte < 256; byte++) {
      const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      byteOfChar.set(String.fromCodePoint(isPrintable ? byte : next++), byte);
    }
  }
  const bytes: number[] = [];
  for (const char of token) {
    const byte = byteOfChar.get(char);
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}
