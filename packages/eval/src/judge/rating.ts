/** Reading a judge's rating. */

const MAX_RATING = 10;
const patterns = [/\[\[(\d+(?:\.\d*)?)\]\]/, /\[(\d+(?:\.\d*)?)\]/];

/**
 * The number in the first "[[5]]" or "[[5.5]]", or else in the first "[5]", as FastChat reads it; 0 counts, though judges are asked for 1 to 10.
 * Undefined if there is none, or if it is above 10, which is no rating.
 */
export function readRating(reply: string): number | undefined {
  const found = patterns.map((pattern) => pattern.exec(reply)?.[1]).find((digits) => digits !== undefined);
  const rating = found === undefined ? undefined : Number(found);
  return rating !== undefined && rating <= MAX_RATING ? rating : undefined;
}
