/** How sure a figure is, and whether two figures differ. */
import { Random } from "@graft/core/random";

export type Interval = readonly [low: number, high: number];

export const mean = (values: readonly number[]): number => values.reduce((sum, x) => sum + x, 0) / values.length;

/** Zeros and ones alone: right and wrong. */
export const isBinary = (values: readonly number[]): boolean => values.every((x) => x === 0 || x === 1);

/** Standard error of a mean: s / sqrt(n) with s the sample deviation (n - 1). 0 for one value. lm-evaluation-harness, mean_stderr. */
export function meanStderr(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const m = mean(values);
  const variance = values.reduce((sum, x) => sum + (x - m) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance / values.length);
}

export interface BootstrapOptions {
  readonly seed?: number;
  readonly resamples?: number;
}

/** Of the 95 % intervals. */
const TAILS = [0.025, 0.975] as const;

/**
 * Percentile bootstrap (Efron 1979) of any statistic: its standard deviation over resamples with replacement, and the 2.5 % and 97.5 % quantiles.
 * The same seed gives the same numbers.
 */
export function bootstrap<T>(
  items: readonly T[],
  statistic: (items: readonly T[]) => number,
  options: BootstrapOptions = {},
): { readonly stderr: number; readonly interval: Interval } {
  const draws = drawn(items, statistic, options);
  const m = mean(draws);
  const variance = draws.reduce((sum, x) => sum + (x - m) ** 2, 0) / Math.max(1, draws.length - 1);
  return { stderr: Math.sqrt(variance), interval: percentiles(draws) };
}

/** The statistic of each resample. */
function drawn<T>(
  items: readonly T[],
  statistic: (items: readonly T[]) => number,
  { seed = 0, resamples = 1000 }: BootstrapOptions,
): number[] {
  const random = new Random(seed);
  return Array.from({ length: resamples }, () => statistic(items.map(() => items[random.int(items.length)]!)));
}

/** 95 % percentile-bootstrap interval of a mean. Of zeros and ones it is that of a binomial draw, which is computed, not drawn. */
export function meanInterval(values: readonly number[], options: BootstrapOptions = {}): Interval {
  if (isBinary(values)) return binomialInterval(values.filter((x) => x === 1).length, values.length);
  return bootstrap(values, mean, options).interval;
}

/** Quantiles of Binomial(n, k / n) / n. */
function binomialInterval(k: number, n: number): Interval {
  const p = k / n;
  if (p === 0 || p === 1) return [p, p];
  const quantile = (tail: number): number => {
    let sum = 0;
    for (let i = 0; i <= n; i++) {
      sum += Math.exp(logChoose(n, i) + i * Math.log(p) + (n - i) * Math.log1p(-p));
      // The sum of all terms is 1 up to rounding.
      if (sum >= tail - 1e-12) return i / n;
    }
    return 1;
  };
  return [quantile(TAILS[0]), quantile(TAILS[1])];
}

function percentiles(draws: readonly number[]): Interval {
  const sorted = draws.toSorted((a, b) => a - b);
  const at = (q: number): number => {
    const place = q * (sorted.length - 1);
    const low = sorted[Math.floor(place)]!;
    return low + (sorted[Math.ceil(place)]! - low) * (place % 1);
  };
  return [at(TAILS[0]), at(TAILS[1])];
}

export interface Mcnemar {
  readonly both: number;
  readonly onlyA: number;
  readonly onlyB: number;
  readonly neither: number;
  /** That the two are equally good, two-sided. */
  readonly pValue: number;
}

/**
 * McNemar's test (1947) on two runs over the same docs, zeros and ones. Exact: under the null the discordant docs fall to either side like coins,
 * p = min(1, 2 P(Binomial(onlyA + onlyB, 1/2) <= min(onlyA, onlyB))). Throws RangeError if the lengths differ.
 */
export function mcnemar(a: readonly number[], b: readonly number[]): Mcnemar {
  assertPaired(a, b);
  const count = (x: number, y: number): number => a.filter((value, i) => value === x && b[i] === y).length;
  const [both, onlyA, onlyB, neither] = [count(1, 1), count(1, 0), count(0, 1), count(0, 0)];
  const discordant = onlyA + onlyB;
  let tail = 0;
  for (let i = 0; i <= Math.min(onlyA, onlyB); i++) tail += Math.exp(logChoose(discordant, i) - discordant * Math.LN2);
  return { both, onlyA, onlyB, neither, pValue: discordant === 0 ? 1 : Math.min(1, 2 * tail) };
}

/**
 * Bootstrap over docs of mean(b) - mean(a): the difference, its 95 % interval, and twice the share of resamples on the other side of zero.
 * Throws RangeError if the lengths differ.
 */
export function pairedBootstrap(
  a: readonly number[],
  b: readonly number[],
  options: BootstrapOptions = {},
): { readonly difference: number; readonly interval: Interval; readonly pValue: number } {
  assertPaired(a, b);
  const gains = a.map((x, i) => b[i]! - x);
  const difference = mean(gains);
  const draws = drawn(gains, mean, options);
  const beyond = draws.filter((draw) => (difference >= 0 ? draw <= 0 : draw >= 0)).length;
  return { difference, interval: percentiles(draws), pValue: Math.min(1, (2 * (beyond + 1)) / (draws.length + 1)) };
}

function assertPaired(a: readonly number[], b: readonly number[]): void {
  if (a.length !== b.length || a.length === 0)
    throw new RangeError(`a paired comparison needs the same docs on both sides, got ${a.length} and ${b.length}`);
}

/** ln C(n, k). */
function logChoose(n: number, k: number): number {
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k);
}

const logFactorials = [0];
function logFactorial(n: number): number {
  for (let i = logFactorials.length; i <= n; i++) logFactorials.push(logFactorials[i - 1]! + Math.log(i));
  return logFactorials[n]!;
}
