/** The order in which examples are seen, and which are held out. */
import { ConfigError } from "../errors/index.ts";
import { Random } from "../random/index.ts";

// Streams of one seed. Epochs count from 0 upward, so the split takes a number no epoch has.
const SPLIT_STREAM = -1;

/** Order of `count` items in an epoch: a new shuffle each epoch, the same for the same seed. */
export function shuffledOrder(count: number, seed: number, epoch: number): number[] {
  return new Random(seed, epoch).shuffle(Array.from({ length: count }, (_, i) => i));
}

/**
 * A shuffle in which neighbours have similar lengths: shuffled, cut into megabatches of 50 groups (fewer for small data), each sorted by
 * falling length, the longest item first of all so that running out of memory shows at once. transformers' get_length_grouped_indices
 * with our own shuffle. `groupSize` is the examples per optimizer step.
 */
export function lengthGroupedOrder(
  lengths: readonly number[],
  groupSize: number,
  seed: number,
  epoch: number,
): number[] {
  const order = shuffledOrder(lengths.length, seed, epoch);
  const megabatch = groupSize * Math.max(1, Math.min(Math.floor(lengths.length / (groupSize * 4)), 50));
  const megabatches: number[][] = [];
  for (let at = 0; at < order.length; at += megabatch) {
    megabatches.push(order.slice(at, at + megabatch).toSorted((a, b) => lengths[b]! - lengths[a]!));
  }
  const longest = megabatches.reduce(
    (best, m) => (lengths[m[0]!]! > lengths[best[0]!]! ? m : best),
    megabatches[0] ?? [],
  );
  const first = megabatches[0];
  if (first) [first[0], longest[0]] = [longest[0]!, first[0]!];
  return megabatches.flat();
}

/**
 * Splits rows into training and validation. `valSetSize`: rows, or a fraction when below 1; 0 holds nothing out. Both parts keep the file's order.
 * Throws ConfigError if nothing would be left to train on.
 */
export function splitValidation<T>(
  rows: readonly T[],
  valSetSize: number,
  seed: number,
): { train: T[]; validation: T[] } {
  const held = valSetSize < 1 ? Math.round(valSetSize * rows.length) : valSetSize;
  if (!(Number.isInteger(held) && held >= 0)) {
    throw new ConfigError(`val_set_size must be a whole number of rows or a fraction below 1, got ${valSetSize}`);
  }
  if (held >= rows.length && held > 0) {
    throw new ConfigError(`val_set_size ${valSetSize} leaves nothing to train on: the data has ${rows.length} rows`);
  }
  const heldOut = new Set(shuffledOrder(rows.length, seed, SPLIT_STREAM).slice(0, held));
  return { train: rows.filter((_, i) => !heldOut.has(i)), validation: rows.filter((_, i) => heldOut.has(i)) };
}
