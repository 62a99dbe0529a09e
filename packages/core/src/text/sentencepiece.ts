/** SentencePiece (Kudo & Richardson 2018, arXiv:1808.06226): ids of a text under a `tokenizer.model`, as the C++ library gives them. */
import { PrefixTree } from "./_prefix-tree.ts";
import { parseSentencePieceModel, type Piece, type SentencePieceModel } from "./_sentencepiece-model.ts";
import { normalize, readCharsMap, utf8Length } from "./_sentencepiece-normalizer.ts";

export type { Piece, SentencePieceModel } from "./_sentencepiece-model.ts";

export interface SentencePiece {
  readonly model: SentencePieceModel;
  /** Control symbols in the text are plain text. `addDummyPrefix` overrides the model's own setting. */
  encode(text: string, options?: { readonly addDummyPrefix?: boolean }): number[];
}

/** Reads a model. Throws ConfigError naming `path`. */
export function loadSentencePiece(path: string, bytes: Uint8Array): SentencePiece {
  const model = parseSentencePieceModel(path, bytes);
  // Control, unknown and byte pieces are never found in a text.
  const findable = [...model.pieces.entries()].filter(
    ([, p]) => p.type !== "control" && p.type !== "unknown" && p.type !== "byte",
  );
  const words = findable.map(([id, piece]) => [piece.text, id] as const);
  const userPieces = new PrefixTree(words.filter(([, id]) => model.pieces[id]!.type === "user"));
  const rules = { userPieces, charsMap: readCharsMap(path, model.charsMap) };
  const byteIds = new Map<number, number>();
  for (const [id, piece] of model.pieces.entries()) {
    const byte = piece.type === "byte" ? pieceByte(piece) : undefined;
    if (byte !== undefined) byteIds.set(byte, id);
  }
  const cut =
    model.kind === "bpe"
      ? cutByMerges(model, new Map(words), userPieces)
      : cutByLikelihood(model, new PrefixTree(words));
  return {
    model,
    encode(text, { addDummyPrefix = model.addDummyPrefix } = {}) {
      const normalized = normalize(text, model, rules, addDummyPrefix);
      const ids: number[] = [];
      let afterUnknown = false;
      for (const { piece, id } of cut(normalized)) {
        const isUnknown = id === model.unkId;
        if (isUnknown && model.byteFallback) {
          for (const byte of new TextEncoder().encode(piece)) ids.push(byteIds.get(byte) ?? model.unkId);
        } else if (!(isUnknown && afterUnknown)) ids.push(id); // a run of unknown characters is one token
        afterUnknown = isUnknown;
      }
      return ids;
    },
  };
}

/** The byte that `<0x41>` stands for. */
export function pieceByte(piece: Piece): number | undefined {
  const hex = /^<0x([0-9A-F]{2})>$/.exec(piece.text)?.[1];
  return hex === undefined ? undefined : Number.parseInt(hex, 16);
}

type Cut = (normalized: string) => { readonly piece: string; readonly id: number }[];

/**
 * BPE: of all neighbours whose joint text is a piece, join those of the highest score, leftmost first, until none is left. Unused pieces may be made on the way
 * and are taken apart again. User-defined pieces are never joined.
 */
function cutByMerges(model: SentencePieceModel, ids: ReadonlyMap<string, number>, userPieces: PrefixTree): Cut {
  return (normalized) => {
    const symbols: { begin: number; end: number; before: number; after: number; isFixed: boolean }[] = [];
    for (let begin = 0; begin < normalized.length;) {
      const user = userPieces.longest(normalized, begin);
      const end = user?.end ?? begin + (normalized.codePointAt(begin)! > 0xffff ? 2 : 1);
      symbols.push({ begin, end, before: symbols.length - 1, after: symbols.length + 1, isFixed: user !== undefined });
      begin = end;
    }
    const agenda = new Agenda();
    const madeOf = new Map<string, readonly [string, string]>();
    const offer = (left: number, right: number): void => {
      const [a, b] = [symbols[left], symbols[right]];
      if (!a || !b || a.isFixed || b.isFixed) return;
      const text = normalized.slice(a.begin, b.end);
      const id = ids.get(text);
      if (id === undefined) return;
      agenda.push({ score: model.pieces[id]!.score, left, right, size: text.length });
      if (model.pieces[id]!.type === "unused")
        madeOf.set(text, [normalized.slice(a.begin, a.end), normalized.slice(b.begin, b.end)]);
    };
    for (let i = 1; i < symbols.length; i++) offer(i - 1, i);
    for (let best = agenda.pop(); best; best = agenda.pop()) {
      const [a, b] = [symbols[best.left]!, symbols[best.right]!];
      // Either side was joined to something else since: its size tells.
      if (a.begin === a.end || b.begin === b.end || b.end - a.begin !== best.size) continue;
      a.end = b.end;
      a.after = b.after;
      b.begin = b.end;
      if (symbols[b.after]) symbols[b.after]!.before = best.left;
      offer(a.before, best.left);
      offer(best.left, a.after);
    }
    const cut: { piece: string; id: number }[] = [];
    const takeApart = (piece: string): void => {
      const id = ids.get(piece) ?? model.unkId;
      const parts = model.pieces[id]!.type === "unused" ? madeOf.get(piece) : undefined;
      if (parts) for (const part of parts) takeApart(part);
      else cut.push({ piece, id });
    };
    for (const { begin, end } of symbols) if (begin < end) takeApart(normalized.slice(begin, end));
    return cut;
  };
}

interface Join {
  readonly score: number;
  readonly left: number;
  readonly right: number;
  /** UTF-16 units of the joined text. */
  readonly size: number;
}

/** A heap: highest score first, of equals the leftmost. */
class Agenda {
  readonly #heap: Join[] = [];

  push(join: Join): void {
    const heap = this.#heap;
    let at = heap.push(join) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(heap[at]!, heap[parent]!)) break;
      [heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
      at = parent;
    }
  }

  pop(): Join | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    heap[0] = last;
    for (let at = 0; ;) {
      let first = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && isBefore(heap[child]!, heap[first]!)) first = child;
      }
      if (first === at) return top;
      [heap[at], heap[first]] = [heap[first]!, heap[at]!];
      at = first;
    }
  }
}

function isBefore(a: Join, b: Join): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}

/** What an unknown character costs more than the rarest piece, in nats. */
const UNKNOWN_PENALTY = 10;

/** Unigram: the cut with the highest sum of log-probabilities (Kudo 2018, arXiv:1804.10959, by Viterbi). Sums are rounded to float32 as the C++ library's are, so that ties break alike. */
function cutByLikelihood(model: SentencePieceModel, tree: PrefixTree): Cut {
  const normal = model.pieces.filter((piece) => piece.type === "normal").map((piece) => piece.score);
  const unknownScore = Math.fround(normal.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY) - UNKNOWN_PENALTY);
  const maxScore = normal.length === 0 ? 0 : normal.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return (normalized) => {
    const size = normalized.length;
    const bestScore = new Float32Array(size + 1);
    const bestBegin = new Int32Array(size + 1).fill(-1);
    const bestId = new Int32Array(size + 1);
    const offer = (begin: number, end: number, id: number, score: number): void => {
      const sum = score + bestScore[begin]!;
      if (bestBegin[end]! >= 0 && sum <= bestScore[end]!) return;
      bestScore[end] = sum;
      bestBegin[end] = begin;
      bestId[end] = id;
    };
    for (let begin = 0; begin < size;) {
      const next = begin + (normalized.codePointAt(begin)! > 0xffff ? 2 : 1);
      let hasSingle = false;
      tree.walk(normalized, begin, (end, id) => {
        const { type, score } = model.pieces[id]!;
        if (type === "unused") return;
        // A user-defined piece must always win over its parts.
        offer(begin, end, id, type === "user" ? utf8Length(normalized, begin, end) * maxScore - 0.1 : score);
        if (end === next) hasSingle = true;
      });
      if (!hasSingle) offer(begin, next, model.unkId, unknownScore);
      begin = next;
    }
    const cut: { piece: string; id: number }[] = [];
    for (let end = size; end > 0; end = bestBegin[end]!) {
      cut.push({ piece: normalized.slice(bestBegin[end]!, end), id: bestId[end]! });
    }
    return cut.reverse();
  };
}
