/** From what streams measured to the figures that are shown. */
import type { ServeCase } from "./serve-schedule.ts";

/** One stream of a round. */
export interface StreamTimes {
  readonly firstTokenMs: number;
  /** Between two tokens, each. */
  readonly gapsMs: readonly number[];
  readonly tokens: number;
}

export interface Round {
  /** From the first request to the last token. */
  readonly seconds: number;
  readonly streams: readonly StreamTimes[];
}

export interface CaseFigures extends ServeCase {
  /** Of all streams together, prompts included in the time: the median round. */
  readonly tokensPerSecond: number;
  /** Over the requests of all rounds. */
  readonly firstTokenMs: { readonly p50: number; readonly p95: number };
  /** Over the gaps of all rounds. */
  readonly betweenTokensMs: Percentiles;
  readonly rounds: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** The value that a share `p` of all are at most: between two values on the line through them (Hyndman and Fan 1996, type 7). Throws RangeError for no values. */
export function percentile(values: readonly number[], p: number): number {
  if (values.length === 0) throw new RangeError("percentile: there are no values");
  const sorted = values.toSorted((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (at - Math.floor(at)) * (above - below);
}

export function percentiles(values: readonly number[]): Percentiles {
  return { p50: percentile(values, 0.5), p95: percentile(values, 0.95), p99: percentile(values, 0.99) };
}

export const rateOf = ({ seconds, streams }: Round): number =>
  streams.reduce((sum, { tokens }) => sum + tokens, 0) / seconds;

export function caseFigures(one: ServeCase, rounds: readonly Round[]): CaseFigures {
  const streams = rounds.flatMap((round) => round.streams);
  const first = streams.map(({ firstTokenMs }) => firstTokenMs);
  return {
    ...one,
    tokensPerSecond: percentile(rounds.map(rateOf), 0.5),
    firstTokenMs: { p50: percentile(first, 0.5), p95: percentile(first, 0.95) },
    betweenTokensMs: percentiles(streams.flatMap(({ gapsMs }) => gapsMs)),
    rounds: rounds.length,
  };
}

/** The median of the ratios of two cases' rates, round by round: what drifts between rounds is in both. */
export function rateRatio(of: readonly Round[], to: readonly Round[]): number {
  return percentile(
    of.map((round, i) => rateOf(round) / rateOf(to[i]!)),
    0.5,
  );
}
