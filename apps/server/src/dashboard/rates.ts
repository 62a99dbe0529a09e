/** Rates of counters that are read every few seconds. */

export interface Reading {
  readonly atMs: number;
  readonly count: number;
}

/** Per second between two readings; null if the counter began anew (its process was started again) or no time has passed. */
export function rateBetween(before: Reading | undefined, after: Reading): number | null {
  if (!before) return null;
  const seconds = (after.atMs - before.atMs) / 1000;
  const grown = after.count - before.count;
  return seconds > 0 && grown >= 0 ? grown / seconds : null;
}

/** `items` with one more, of which the newest `limit` are kept. */
export function pushBounded<T>(items: readonly T[], item: T, limit: number): readonly T[] {
  return [...items.slice(Math.max(0, items.length - limit + 1)), item];
}
