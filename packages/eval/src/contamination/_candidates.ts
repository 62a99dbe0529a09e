/** Where a question may stand in training texts. */
import type { TrainingIndex } from "./training-index.ts";

export interface Candidate {
  readonly text: number;
  /** The places of the text that every way of writing the question there lies within. */
  readonly window: readonly [from: number, to: number];
}

/**
 * All places where `question` may stand with at most `limit` edits: of limit + 1 pieces one is left unchanged (Wu & Manber 1992, "Fast text searching allowing errors").
 * Each piece is looked up by the pair of neighbouring words in it that is the rarest; pieces are of two words at least.
 */
export function* candidates(index: TrainingIndex, question: Uint32Array, limit: number): Generator<Candidate> {
  const length = question.length;
  const seen = new Map<number, number>(); // begin to text: what begins before its text may be in two
  for (let piece = 0; piece <= limit; piece++) {
    const from = Math.floor((piece * length) / (limit + 1));
    const to = Math.floor(((piece + 1) * length) / (limit + 1));
    const rarest = rarestPair(index, question, from, to);
    if (rarest === undefined) continue;
    for (const place of rarest.places) {
      const begin = place - rarest.at; // where the question would begin if nothing before the piece were edited
      if (!isSame(index.words, begin + from, question, from, to)) continue;
      const own = index.textAt(place);
      if (begin + from < own.from || begin + to > own.to || seen.get(begin) === own.text) continue;
      seen.set(begin, own.text);
      yield {
        text: own.text,
        window: [Math.max(own.from, begin - limit), Math.min(own.to, begin + length + limit)],
      };
    }
  }
}

function rarestPair({ pairs }: TrainingIndex, question: Uint32Array, from: number, to: number) {
  let rarest: { readonly at: number; readonly places: Uint32Array } | undefined;
  for (let at = from; at + 1 < to; at++) {
    const places = pairs.places(question[at]!, question[at + 1]!);
    if (rarest === undefined || places.length < rarest.places.length) rarest = { at, places };
  }
  return rarest;
}

function isSame(words: Uint32Array, place: number, question: Uint32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (words[place + i - from] !== question[i]) return false;
  return true;
}
