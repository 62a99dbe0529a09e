/** The edit distance of a question to the part of a text that is most like it. */

/** Beyond every limit. */
const NEVER = 1 << 20;

export interface AlignOptions {
  /** The largest distance of interest. */
  readonly limit: number;
  /** Do the words around the part count too, as in a comparison of two whole texts? */
  readonly isWhole: boolean;
  /** By word: may it not be changed, left out or put in? */
  readonly isFixed: (word: number) => boolean;
}

/**
 * The fewest words to change, leave out or put in that make of the question some run of words of text[from, to): Sellers 1980, "The theory and computation of evolutionary
 * distances", with a fixed word's edits forbidden. Returns limit + 1 where there is none within the limit.
 */
export function editDistance(
  question: Uint32Array,
  text: Uint32Array,
  [from, to]: readonly [number, number],
  { limit, isWhole, isFixed }: AlignOptions,
): number {
  const width = to - from;
  let above = new Int32Array(width + 1);
  let row = new Int32Array(width + 1);
  const cost = new Int32Array(width);
  for (let j = 0; j < width; j++) cost[j] = isFixed(text[from + j]!) ? NEVER : 1;
  if (isWhole) for (let j = 0; j < width; j++) above[j + 1] = Math.min(NEVER, above[j]! + cost[j]!);
  for (const word of question) {
    const own = isFixed(word) ? NEVER : 1;
    row[0] = Math.min(NEVER, above[0]! + own);
    let least = row[0];
    for (let j = 0; j < width; j++) {
      const there = cost[j]!;
      const same = above[j]! + (word === text[from + j] ? 0 : Math.max(own, there));
      const value = Math.min(same, above[j + 1]! + own, row[j]! + there, NEVER);
      row[j + 1] = value;
      if (value < least) least = value;
    }
    if (least > limit) return limit + 1;
    [above, row] = [row, above];
  }
  const distance = isWhole ? above[width]! : above.reduce((a, b) => Math.min(a, b));
  return Math.min(distance, limit + 1);
}
