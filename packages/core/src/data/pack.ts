/** Packing: several short examples share a row, so that fewer tokens are padding. Segment ids keep them apart. */
import { DataError } from "../errors/index.ts";

/**
 * Example numbers per row, so that each row's lengths sum to at most `capacity` and every example is in exactly one row.
 * Best fit, longest first (Johnson et al. 1974): at most 11/9 of the fewest rows possible, plus one. Does not depend on a seed.
 * Throws DataError if an example is longer than a row.
 */
export function packExamples(lengths: readonly number[], capacity: number): number[][] {
  const order = lengths.map((_, i) => i).toSorted((a, b) => lengths[b]! - lengths[a]! || a - b);
  const rows: number[][] = [];
  // byRoom[n]: rows with room for n more tokens.
  const byRoom: number[][] = Array.from({ length: capacity + 1 }, () => []);
  for (const example of order) {
    const tokens = lengths[example]!;
    if (tokens > capacity) {
      throw new DataError(
        `example ${example} has ${tokens} tokens, a packed row holds ${capacity}; lower cutoff_len or pack longer rows`,
      );
    }
    let room = tokens;
    while (room <= capacity && byRoom[room]!.length === 0) room++;
    const open = byRoom[room]?.pop();
    const row = open ?? rows.push([]) - 1;
    rows[row]!.push(example);
    byRoom[(open === undefined ? capacity : room) - tokens]!.push(row);
  }
  return rows;
}
