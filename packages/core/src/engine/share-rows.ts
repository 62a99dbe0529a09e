/** How the rows of a pass are divided. Pure. */

/** A request that may be in the pass. */
export interface Candidate {
  /** Tokens to compute; one: it decodes. */
  readonly pending: number;
  /** Order of arrival. */
  readonly number: number;
  /** Number of the pass it was in last. */
  readonly lastPass: number;
  /** What its adapter has been served. */
  readonly served: number;
}

/**
 * Tokens of each that go into a pass of at most maxRows. Those that decode go first, and of these the ones that were left out of the last passes; where there are more of them than
 * rows, a quarter is for prompts. Of what is left the oldest prompt gets half, and the rest goes by what adapters have been served.
 */
export function shareRows<C extends Candidate>(candidates: readonly C[], maxRows: number): Map<C, number> {
  const byAge = candidates.toSorted((a, b) => a.number - b.number);
  const decoding = byAge.filter(({ pending }) => pending === 1).toSorted((a, b) => a.lastPass - b.lastPass);
  const prompts = byAge.filter(({ pending }) => pending > 1);
  const shares = new Map<C, number>();
  let left = maxRows;
  const give = (candidate: C, most: number): void => {
    const before = shares.get(candidate) ?? 0;
    const tokens = Math.min(most, left, candidate.pending - before);
    if (tokens <= 0) return;
    shares.set(candidate, before + tokens);
    left -= tokens;
  };
  const reserved = prompts.length > 0 ? Math.floor(maxRows / 4) : 0;
  for (const candidate of decoding.slice(0, maxRows - reserved)) give(candidate, 1);
  const [oldest] = prompts;
  if (oldest) give(oldest, Math.ceil(left / 2));
  for (const candidate of prompts.toSorted((a, b) => a.served - b.served)) give(candidate, left);
  return shares;
}
