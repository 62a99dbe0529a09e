/** What SentencePiece does to a text before it cuts it: replacement rules of the model's own table, white space, the dummy prefix. */
import { ConfigError } from "../errors/index.ts";
import type { PrefixTree } from "./_prefix-tree.ts";
import type { SentencePieceModel } from "./_sentencepiece-model.ts";

/** U+2581, SentencePiece's visible space. */
export const SPACE = "\u2581";

/** Replaces the longest rule's key that begins at byte `at`. Undefined: no rule. */
type CharsMap = (bytes: Uint8Array, at: number) => { readonly text: string; readonly length: number } | undefined;

/**
 * The table as SentencePiece compiles it: u32 size, a double-array trie of UTF-8 keys (darts-clone), then the replacements, each ended by a zero byte.
 * Throws ConfigError if the parts do not fit.
 */
export function readCharsMap(path: string, blob: Uint8Array): CharsMap | undefined {
  if (blob.length === 0) return undefined;
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const size = blob.length < 4 ? -1 : view.getUint32(0, true);
  if (size < 4 || size % 4 !== 0 || 4 + size > blob.length) {
    throw new ConfigError(`${path}: its table of character replacements is damaged`);
  }
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const replacements = blob.subarray(4 + size);
  const texts = new Map<number, string>();
  const textAt = (offset: number): string => {
    let text = texts.get(offset);
    if (text === undefined) {
      const end = replacements.indexOf(0, offset);
      text = new TextDecoder().decode(replacements.subarray(offset, end < 0 ? undefined : end));
      texts.set(offset, text);
    }
    return text;
  };
  // A unit's bits: 0-7 label, 8 has a leaf, 9 scale and 10-30 offset of its children, 31 set in a leaf.
  const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6);
  return (bytes, at) => {
    let node = offsetOf(units[0]!);
    let found: { value: number; length: number } | undefined;
    for (let i = at; i < bytes.length; i++) {
      node ^= bytes[i]!;
      const unit = units[node];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== bytes[i]) break;
      node ^= offsetOf(unit);
      if (unit & 0x100) found = { value: (units[node] ?? 0) & 0x7fffffff, length: i + 1 - at };
    }
    return found && { text: textAt(found.value), length: found.length };
  };
}

/**
 * The normalised text. The rules, as in SentencePiece's normalizer.cc: user-defined pieces stay as they are; each longest key of the table is replaced; with
 * `removeExtraWhitespaces` spaces at both ends go and runs become one; a space stands before (or behind) everything; spaces become U+2581.
 */
export function normalize(
  text: string,
  model: SentencePieceModel,
  rules: { readonly userPieces: PrefixTree; readonly charsMap: CharsMap | undefined },
  addDummyPrefix: boolean,
): string {
  const space = model.escapeWhitespaces ? SPACE : " ";
  const chunks = [...replaced(text, rules)];
  let first = 0;
  if (model.removeExtraWhitespaces) while (chunks[first] === " ") first++;
  if (first === chunks.length) return "";
  let out = addDummyPrefix && !model.whitespaceAsSuffix ? space : "";
  let afterSpace = model.removeExtraWhitespaces;
  for (let i = first; i < chunks.length; i++) {
    let chunk = chunks[i]!;
    if (afterSpace) chunk = chunk.replace(/^ +/, "");
    if (chunk !== "") {
      out += model.escapeWhitespaces ? chunk.replaceAll(" ", space) : chunk;
      afterSpace = chunk.endsWith(" ");
    }
    if (!model.removeExtraWhitespaces) afterSpace = false;
  }
  if (model.removeExtraWhitespaces) while (out.endsWith(space)) out = out.slice(0, -1);
  if (addDummyPrefix && model.whitespaceAsSuffix) out += space;
  return out;
}

/** The text in pieces that the rules see as one: user-defined pieces, replacements, single characters. */
function* replaced(
  text: string,
  { userPieces, charsMap }: { readonly userPieces: PrefixTree; readonly charsMap: CharsMap | undefined },
): Generator<string> {
  const bytes = charsMap ? new TextEncoder().encode(text) : undefined;
  let byte = 0;
  for (let at = 0; at < text.length;) {
    const user = userPieces.longest(text, at);
    const rule = !user && charsMap && bytes ? charsMap(bytes, byte) : undefined;
    let end = user?.end ?? at;
    let consumed = 0;
    if (user) consumed = utf8Length(text, at, user.end);
    else {
      // At least one character; as many as the rule's key has bytes.
      do {
        const next = end + (text.codePointAt(end)! > 0xffff ? 2 : 1);
        consumed += utf8Length(text, end, next);
        end = next;
      } while (rule && consumed < rule.length && end < text.length);
    }
    yield rule ? rule.text : text.slice(at, end).toWellFormed();
    at = end;
    byte += consumed;
  }
}

/** Bytes of text[from, to) in UTF-8; half a surrogate pair counts as U+FFFD. */
export function utf8Length(text: string, from: number, to: number): number {
  let length = 0;
  for (let i = from; i < to; i++) {
    const code = text.codePointAt(i)!;
    if (code > 0xffff) i++;
    length += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return length;
}
