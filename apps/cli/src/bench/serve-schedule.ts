/** What `graft bench serve` measures, and in which order. */
import { Random } from "@graft/core/random";

export interface ServeCase {
  /** Requests that run at once. */
  readonly streams: number;
  /** Different adapters among them; 0: the base alone. */
  readonly adapters: number;
}

/** Every count of streams with every count of adapters, the base first. */
export function serveCases(streams: readonly number[], adapters: readonly number[]): ServeCase[] {
  const ascending = (counts: readonly number[]): number[] => [...new Set(counts)].toSorted((a, b) => a - b);
  return ascending(streams).flatMap((s) => ascending(adapters).map((a) => ({ streams: s, adapters: a })));
}

export interface Turn {
  readonly case: ServeCase;
  /** Counted from 0; negative in warm-up. */
  readonly round: number;
}

/**
 * First the warm-up, in which each case meets each of its adapters `warmUp` times; then rounds in which every case has one turn, in another order each time: what drifts meets all cases
 * alike.
 */
export function serveTurns(cases: readonly ServeCase[], rounds: number, warmUp: number, seed: number): Turn[] {
  const random = new Random(seed);
  const before = cases.flatMap((one) => {
    const count = warmUp * Math.max(1, Math.ceil(one.adapters / one.streams));
    return Array.from({ length: count }, (_, i): Turn => ({ case: one, round: i - count }));
  });
  const measured = Array.from({ length: rounds }, (_, round) =>
    shuffled(cases, random).map((one): Turn => ({ case: one, round })),
  );
  return [...before, ...measured.flat()];
}

/** The number of the adapter that a stream asks in a round; undefined: the base. Over the rounds each adapter has its turn, also with fewer streams than adapters. */
export function adapterOfStream({ streams, adapters }: ServeCase, round: number, stream: number): number | undefined {
  if (adapters === 0) return undefined;
  const turn = round * streams + stream;
  return ((turn % adapters) + adapters) % adapters;
}

function shuffled<C>(cases: readonly C[], random: Random): C[] {
  const rest = [...cases];
  return cases.map(() => rest.splice(random.int(rest.length), 1)[0]!);
}
