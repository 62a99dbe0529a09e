/** The file format of SentencePiece: `ModelProto` of sentencepiece_model.proto. https://github.com/google/sentencepiece */
import { ConfigError } from "../errors/index.ts";
import { readFields, type WireField } from "./_protobuf.ts";

/** In the order of the numbers 1 to 6 of the file. */
const pieceTypes = ["normal", "unknown", "control", "user", "unused", "byte"] as const;
export type PieceType = (typeof pieceTypes)[number];

export interface Piece {
  readonly text: string;
  readonly score: number;
  readonly type: PieceType;
}

export interface SentencePieceModel {
  readonly kind: "unigram" | "bpe";
  /** By id. */
  readonly pieces: readonly Piece[];
  readonly byteFallback: boolean;
  readonly whitespaceAsSuffix: boolean;
  /** Ids, or -1 where the model has none. */
  readonly unkId: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly addDummyPrefix: boolean;
  readonly removeExtraWhitespaces: boolean;
  readonly escapeWhitespaces: boolean;
  /** Double-array trie and replacement texts; empty for none. */
  readonly charsMap: Uint8Array;
}

/** Reads a `tokenizer.model`. Throws ConfigError naming `path` if it is none, or of a kind other than unigram and BPE. */
export function parseSentencePieceModel(path: string, bytes: Uint8Array): SentencePieceModel {
  try {
    return parseModel(path, bytes);
  } catch (cause) {
    if (!(cause instanceof RangeError || cause instanceof TypeError)) throw cause;
    throw new ConfigError(`${path}: is no SentencePiece model: ${cause.message}`, { cause });
  }
}

function parseModel(path: string, bytes: Uint8Array): SentencePieceModel {
  const pieces: Piece[] = [];
  // Defaults as in the format's definition.
  const trainer = { kind: 1, byteFallback: 0, whitespaceAsSuffix: 0, unkId: 0, bosId: 1, eosId: 2, padId: -1 };
  const normalizer = { addDummyPrefix: 1, removeExtraWhitespaces: 1, escapeWhitespaces: 1 };
  let charsMap = new Uint8Array(0);
  for (const field of readFields(bytes)) {
    if (field.number === 1) pieces.push(parsePiece(message(field), pieces.length));
    if (field.number === 2) {
      for (const inner of readFields(message(field))) {
        if (inner.number === 3) trainer.kind = integer(inner);
        if (inner.number === 24) trainer.whitespaceAsSuffix = integer(inner);
        if (inner.number === 35) trainer.byteFallback = integer(inner);
        if (inner.number === 40) trainer.unkId = integer(inner);
        if (inner.number === 41) trainer.bosId = integer(inner);
        if (inner.number === 42) trainer.eosId = integer(inner);
        if (inner.number === 43) trainer.padId = integer(inner);
      }
    }
    if (field.number === 3) {
      for (const inner of readFields(message(field))) {
        if (inner.number === 2) charsMap = Uint8Array.from(message(inner));
        if (inner.number === 3) normalizer.addDummyPrefix = integer(inner);
        if (inner.number === 4) normalizer.removeExtraWhitespaces = integer(inner);
        if (inner.number === 5) normalizer.escapeWhitespaces = integer(inner);
      }
    }
  }
  if (trainer.kind !== 1 && trainer.kind !== 2) {
    throw new ConfigError(`${path}: model type ${trainer.kind} is not supported; unigram (1) and BPE (2) are`);
  }
  if (pieces.length === 0) throw new RangeError("it has no pieces");
  // The ids of the file's trainer section may be those of another vocabulary: the type of the piece decides.
  const unkId = pieces.findIndex((piece) => piece.type === "unknown");
  if (unkId < 0) throw new RangeError("it has no unknown piece");
  const control = (id: number): number => (pieces[id]?.type === "control" ? id : -1);
  return {
    kind: trainer.kind === 1 ? "unigram" : "bpe",
    pieces,
    byteFallback: trainer.byteFallback !== 0,
    whitespaceAsSuffix: trainer.whitespaceAsSuffix !== 0,
    unkId,
    bosId: control(trainer.bosId),
    eosId: control(trainer.eosId),
    padId: control(trainer.padId),
    addDummyPrefix: normalizer.addDummyPrefix !== 0,
    removeExtraWhitespaces: normalizer.removeExtraWhitespaces !== 0,
    escapeWhitespaces: normalizer.escapeWhitespaces !== 0,
    charsMap,
  };
}

function parsePiece(bytes: Uint8Array, id: number): Piece {
  let text = "";
  let score = 0;
  let type: PieceType = "normal";
  for (const field of readFields(bytes)) {
    if (field.number === 1) text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(message(field));
    if (field.number === 2) {
      if (field.type !== "fixed32") throw new RangeError(`piece ${id} has a score of type ${field.type}`);
      score = new DataView(field.value.buffer, field.value.byteOffset, 4).getFloat32(0, true);
      if (Number.isNaN(score)) throw new RangeError(`piece ${id} has no number as its score`);
    }
    if (field.number === 3) {
      const known = pieceTypes[integer(field) - 1];
      if (!known) throw new RangeError(`piece ${id} is of the unknown type ${integer(field)}`);
      type = known;
    }
  }
  if (text === "") throw new RangeError(`piece ${id} is empty`);
  return { text, score, type };
}

function message(field: WireField): Uint8Array {
  if (field.type !== "bytes") throw new RangeError(`field ${field.number} is no message but a ${field.type}`);
  return field.value;
}

function integer(field: WireField): number {
  if (field.type !== "varint") throw new RangeError(`field ${field.number} is no integer but ${field.type}`);
  return Number(BigInt.asIntN(32, field.value));
}
