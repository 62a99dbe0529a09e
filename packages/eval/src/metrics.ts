/** What a run is measured by: how the values of single docs become one figure. */
import { suggest, UnknownName } from "@graft/core/errors";
import { f1, matthews, type Pair, pearson, spearman } from "./classification-metrics.ts";
import type { ItemValue } from "./task.ts";
import { bootstrap, type BootstrapOptions, type Interval, mean, meanInterval, meanStderr } from "./statistics.ts";

export interface Metric {
  readonly name: string;
  readonly higherIsBetter: boolean;
  readonly summary: string;
  /** Of a mean the values are numbers; of any other statistic what `of` takes. */
  readonly kind: "mean" | "statistic";
  of(values: readonly ItemValue[]): number;
}

const averaged = (name: string, summary: string): Metric => ({
  name,
  summary,
  higherIsBetter: true,
  kind: "mean",
  of: (values) => mean(values as readonly number[]),
});

/** Of a statistic of [gold, predicted] pairs over the whole data set. */
const pairwise = (name: string, summary: string, statistic: (pairs: readonly Pair[]) => number): Metric => ({
  name,
  summary,
  higherIsBetter: true,
  kind: "statistic",
  of: (values) => statistic(values as unknown as readonly Pair[]),
});

/** Column sums of equally long rows. */
const sums = (values: readonly ItemValue[]): readonly number[] =>
  (values as readonly (readonly number[])[]).reduce(
    (total, row) => row.map((x, i) => x + (total[i] ?? 0)),
    [] as readonly number[],
  );

/** exp(-sum of ln p / number of tokens). Values: [ln p of the continuation, its tokens]. */
const perplexity: Metric = {
  name: "perplexity",
  summary: "exp of the mean negative log-likelihood of a token",
  higherIsBetter: false,
  kind: "statistic",
  of(values) {
    const [logprob = 0, tokens = 0] = sums(values);
    return Math.exp(-logprob / tokens);
  },
};

const all: readonly Metric[] = [
  averaged("acc", "share of right answers"),
  averaged("acc_norm", "the same, choices ranked by log-probability per character"),
  perplexity,
  pairwise("mcc", "Matthews' correlation of gold and predicted classes", matthews),
  pairwise("f1", "harmonic mean of precision and recall of the positive class", f1),
  pairwise("pearson", "correlation of gold and predicted values", pearson),
  pairwise("spearman", "correlation of their ranks", spearman),
  averaged("mt_bench", "mean rating of both turns, 1 to 10"),
  averaged("mt_bench_turn1", "mean rating of the first turn"),
  averaged("mt_bench_turn2", "mean rating of the second turn"),
  averaged("pass@1", "share of problems that a sample solves"),
  averaged("pass@10", "share of problems that one of ten samples solves"),
  averaged("pass@100", "share of problems that one of a hundred samples solves"),
];

export const metrics: Readonly<Record<string, Metric>> = Object.fromEntries(all.map((metric) => [metric.name, metric]));

/** Throws UnknownName with near names. */
export function metricFor(name: string): Metric {
  const found = metrics[name];
  if (!found) throw new UnknownName(`unknown metric "${name}"${suggest(name, Object.keys(metrics))}`);
  return found;
}

export interface Figure {
  readonly value: number;
  readonly stderr: number;
  /** 95 %. */
  readonly interval: Interval;
  readonly higherIsBetter: boolean;
}

/** A metric over the docs: a mean with its own standard error, anything else with the bootstrap's. */
export function figureOf(metric: Metric, values: readonly ItemValue[], options: BootstrapOptions = {}): Figure {
  const { higherIsBetter } = metric;
  const value = metric.of(values);
  if (metric.kind === "mean") {
    const numbers = values as readonly number[];
    return { value, stderr: meanStderr(numbers), interval: meanInterval(numbers, options), higherIsBetter };
  }
  return { value, ...bootstrap(values, (drawn) => metric.of(drawn), options), higherIsBetter };
}
