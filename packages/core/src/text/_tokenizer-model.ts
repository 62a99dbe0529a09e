/** The vocabulary of a SentencePiece tokenizer.model, with the tokens that a Hugging Face folder adds to it. */
import { readFileSync } from "node:fs";
import { type Detokenizer, streamTokens, type TokenText } from "./_detokenizer.ts";
import { PrefixTree } from "./_prefix-tree.ts";
import { SPACE } from "./_sentencepiece-normalizer.ts";
import type { AddedToken, TokenizerConfig, Vocabulary } from "./_vocabulary.ts";
import { loadSentencePiece, pieceByte, type SentencePiece } from "./sentencepiece.ts";

export function readSentencePiece(path: string): SentencePiece {
  return loadSentencePiece(path, readFileSync(path));
}

/** `added`: tokens of tokenizer.json, added_tokens.json or tokenizer_config.json; those that are pieces of the model too are taken from the model. */
export function sentencePieceVocabulary(
  { model, encode: encodePlain }: SentencePiece,
  config: TokenizerConfig,
  added: readonly AddedToken[],
): Vocabulary {
  const idOf = new Map<string, number>();
  // Of two pieces with the same text the first counts.
  for (const [id, piece] of model.pieces.entries()) if (!idOf.has(piece.text)) idOf.set(piece.text, id);
  const tokens = new Map<number, AddedToken>();
  for (const [id, { text, type }] of model.pieces.entries()) {
    if (type !== "control" && type !== "unknown") continue;
    tokens.set(id, { id, content: text, special: true, lstrip: false, rstrip: false, single_word: false });
  }
  for (const token of added) {
    if (idOf.get(token.content) !== token.id) tokens.set(token.id, token);
    if (!idOf.has(token.content)) idOf.set(token.content, token.id);
  }
  const split = (parseSpecial: boolean) =>
    new PrefixTree(
      [...tokens.values()].filter((t) => parseSpecial || !t.special).map((t) => [t.content, t.id] as const),
    );
  const trees = { plain: split(false), parsing: split(true) };

  const encode = (text: string, parseSpecial: boolean): number[] => {
    const ids: number[] = [];
    const add = (from: number, to: number): void => {
      const segment = text.slice(from, to);
      // transformers' LlamaTokenizer with legacy = false: no blank before a text that follows a token.
      const isFirst = from === 0 || config.legacy !== false;
      if (segment !== "") ids.push(...encodePlain(segment, isFirst ? {} : { addDummyPrefix: false }));
    };
    let begin = 0;
    for (let at = 0; at < text.length;) {
      const found = (parseSpecial ? trees.parsing : trees.plain).longest(text, at);
      const token = found && tokens.get(found.value);
      if (!token) {
        at++;
        continue;
      }
      const end = token.lstrip ? begin + text.slice(begin, at).trimEnd().length : at;
      add(begin, end);
      ids.push(token.id);
      at = found.end;
      if (token.rstrip) while (/\s/.test(text[at] ?? "")) at++;
      begin = at;
    }
    add(begin, text.length);
    return ids;
  };

  const textOf = (id: number): TokenText | undefined => {
    const token = tokens.get(id);
    if (token) return token.content;
    const piece = model.pieces[id];
    const byte = piece?.type === "byte" ? pieceByte(piece) : undefined;
    return byte === undefined ? piece?.text.replaceAll(SPACE, " ") : Uint8Array.of(byte);
  };
  // One blank, as transformers decodes; the C++ library takes off all of them where it removes extra white space.
  const detokenizer: Detokenizer = { textOf, leadingBlanks: model.addDummyPrefix && !model.whitespaceAsSuffix ? 1 : 0 };
  const around = (add: boolean, id: number): number[] => (add && id >= 0 ? [id] : []);
  return {
    size: Math.max(model.pieces.length, ...[...tokens.keys()].map((id) => id + 1)),
    encode,
    before: around(config.add_bos_token ?? true, model.bosId),
    after: around(config.add_eos_token ?? false, model.eosId),
    idOf: (token) => idOf.get(token),
    tokenOf: (id) => tokens.get(id)?.content ?? model.pieces[id]?.text,
    textOf,
    isSpecial: (id) => tokens.get(id)?.special ?? false,
    stream: (isContinuation) => streamTokens(detokenizer, isContinuation),
    decode: (ids, isContinuation) => {
      const stream = streamTokens(detokenizer, isContinuation);
      return ids.map((id) => stream.push(id)).join("") + stream.flush();
    },
    specialsInText: "text",
  };
}
