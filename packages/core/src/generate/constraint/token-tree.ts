/** The bytes of a vocabulary's tokens as a tree in one array, walked by an automaton to find which tokens may follow. */
import type { Tokenizer } from "../../text/index.ts";
import type { Automaton, State } from "./automaton.ts";

/** Which ids may follow: listed where they are few, else one bit each. */
export type Allowed = { readonly ids: readonly number[] } | { readonly bits: Uint32Array };

export interface TokenTree {
  /** Bytes of the longest token. */
  readonly longest: number;
  /** Bytes of each token; undefined: special, or of no text. */
  readonly bytesOf: (id: number) => Uint8Array | undefined;
  /** Ids whose bytes may follow. */
  allowed(automaton: Automaton, state: State): Allowed;
}

export type TokenVocabulary = Pick<Tokenizer, "bytesOf" | "isSpecial" | "vocabSize">;

/** Tokens read between two turns of the event loop. */
const CHUNK = 4096;

/** Reads the ids below vocabSize; special tokens and `eosIds` are no text. */
export async function readTokenTree(
  tokenizer: TokenVocabulary,
  vocabSize: number,
  eosIds: readonly number[],
): Promise<TokenTree> {
  const ends = new Set(eosIds);
  const size = Math.min(vocabSize, tokenizer.vocabSize);
  const tokens: (Uint8Array | undefined)[] = [];
  for (let id = 0; id < size; id++) {
    if (id % CHUNK === CHUNK - 1) await new Promise<void>((resume) => setImmediate(resume));
    const bytes = ends.has(id) || tokenizer.isSpecial(id) ? undefined : tokenizer.bytesOf(id);
    tokens.push(bytes && bytes.length > 0 ? bytes : undefined);
  }
  // Where some byte of a character is no token of its own, a token that ends within a character may lead nowhere.
  const isWhole = Array.from({ length: 128 }, (_, i) => 0x80 + i).every(
    (byte) => UNUSED.has(byte) || tokens.some((bytes) => bytes?.length === 1 && bytes[0] === byte),
  );
  const texts = new Map<string, number[]>();
  for (const [id, bytes] of tokens.entries()) {
    if (!bytes || (!isWhole && !isText(bytes))) continue;
    const key = String.fromCharCode(...bytes);
    const same = texts.get(key);
    if (same) same.push(id);
    else texts.set(key, [id]);
  }
  return buildTree(texts, tokens, vocabSize);
}

/** Bytes that UTF-8 never has. */
const UNUSED = new Set([0xc0, 0xc1, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);

function isText(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function buildTree(
  texts: ReadonlyMap<string, readonly number[]>,
  tokens: readonly (Uint8Array | undefined)[],
  vocabSize: number,
): TokenTree {
  // In sorted order a node's children come right behind it.
  const [byte, depth, end, own]: [number[], number[], number[], (readonly number[] | undefined)[]] = [[], [], [], []];
  const path: number[] = [];
  let before = "";
  const close = (to: number): void => {
    while (path.length > to) end[path.pop()!] = byte.length;
  };
  for (const text of [...texts.keys()].toSorted((a, b) => (a < b ? -1 : 1))) {
    let shared = 0;
    while (shared < before.length && before[shared] === text[shared]) shared++;
    close(shared);
    for (let i = shared; i < text.length; i++) {
      path.push(byte.length);
      byte.push(text.charCodeAt(i));
      depth.push(i);
      end.push(0);
      own.push(undefined);
    }
    own[byte.length - 1] = texts.get(text)!;
    before = text;
  }
  close(0);
  const [bytes, depths, ends] = [Uint8Array.from(byte), Uint16Array.from(depth), Uint32Array.from(end)];
  const words = Math.ceil(vocabSize / 32);
  return {
    longest: depths.reduce((a, b) => Math.max(a, b), 0) + 1,
    bytesOf: (id) => tokens[id],
    allowed(automaton, start) {
      const states: State[] = [start];
      const bits = new Uint32Array(words);
      let ids: number[] | undefined = [];
      for (let node = 0; node < bytes.length;) {
        const at = depths[node]!;
        const state = automaton.step(states[at]!, bytes[node]!);
        if (!state) {
          node = ends[node]!;
          continue;
        }
        states[at + 1] = state;
        for (const id of own[node] ?? []) {
          bits[id >>> 5]! |= 1 << (id & 31);
          ids?.push(id);
        }
        if (ids && ids.length > words) ids = undefined;
        node++;
      }
      return ids ? { ids } : { bits };
    },
  };
}
