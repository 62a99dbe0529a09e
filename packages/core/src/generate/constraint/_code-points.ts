/** Sets of Unicode characters as sorted ranges, and their UTF-8. */
import { altOf, byteRange, type Node, seqOf } from "./_grammar.ts";

/** Ranges [first, last] of code points, sorted, apart from each other. */
export type CodePoints = readonly (readonly [number, number])[];

export const MAX_CODE_POINT = 0x10ffff;
export const ALL: CodePoints = [[0, MAX_CODE_POINT]];
/** Halves of UTF-16 pairs: no characters. */
const SURROGATES: CodePoints = [[0xd800, 0xdfff]];

/** The ranges in order, with those that touch made one. */
export function union(...sets: readonly CodePoints[]): CodePoints {
  const result: [number, number][] = [];
  for (const [lo, hi] of sets.flat().toSorted(([a], [b]) => a - b)) {
    const last = result.at(-1);
    if (last && lo <= last[1] + 1) last[1] = Math.max(last[1], hi);
    else result.push([lo, hi]);
  }
  return result;
}

export function complement(set: CodePoints): CodePoints {
  const result: [number, number][] = [];
  let next = 0;
  for (const [lo, hi] of union(set)) {
    if (lo > next) result.push([next, lo - 1]);
    next = hi + 1;
  }
  if (next <= MAX_CODE_POINT) result.push([next, MAX_CODE_POINT]);
  return result;
}

export function without(set: CodePoints, taken: CodePoints): CodePoints {
  return complement(union(complement(set), taken));
}

export function contains(set: CodePoints, codePoint: number): boolean {
  return set.some(([lo, hi]) => lo <= codePoint && codePoint <= hi);
}

/** One character of the set, as UTF-8 spells it (Unicode 16, table 3-7). */
export function utf8(set: CodePoints): Node {
  return altOf(without(set, SURROGATES).flatMap(([lo, hi]) => utf8Range(lo, hi)));
}

/** Last code points of one, two, three and four bytes. */
const LENGTH_ENDS = [0x7f, 0x7ff, 0xffff, MAX_CODE_POINT];

function utf8Range(lo: number, hi: number): Node[] {
  const end = LENGTH_ENDS.find((last) => lo <= last)!;
  if (hi > end) return [...utf8Range(lo, end), ...utf8Range(end + 1, hi)];
  // Where the ends differ before their last k bytes, those k must go through all their values: cut until they do.
  for (let k = 1; k < LENGTH_ENDS.indexOf(end) + 1; k++) {
    const mask = 2 ** (6 * k) - 1;
    if ((lo & ~mask) === (hi & ~mask)) continue;
    if ((lo & mask) !== 0) return [...utf8Range(lo, lo | mask), ...utf8Range((lo | mask) + 1, hi)];
    if ((hi & mask) !== mask) return [...utf8Range(lo, (hi & ~mask) - 1), ...utf8Range(hi & ~mask, hi)];
  }
  const [first, last] = [bytesOf(lo), bytesOf(hi)];
  return [seqOf(Array.from(first, (byte, i) => byteRange(byte, last[i]!)))];
}

function bytesOf(codePoint: number): Uint8Array {
  return new TextEncoder().encode(String.fromCodePoint(codePoint));
}
