/** GLUE's figures over a whole data set, of pairs [gold, predicted]. Each has a value on every input, also where its formula divides by zero. */

export type Pair = readonly [gold: number, predicted: number];

/**
 * Matthews' correlation of classes, -1 to 1, for any number of them: R_K of Gorodkin 2004, eq. 8. 0 where all golds or all predictions are of one class,
 * as scikit-learn's matthews_corrcoef.
 */
export function matthews(pairs: readonly Pair[]): number {
  const golds = countOf(pairs.map(([gold]) => gold));
  const predictions = countOf(pairs.map(([, predicted]) => predicted));
  const n = pairs.length;
  const hits = pairs.filter(([gold, predicted]) => gold === predicted).length;
  const sumOfProducts = (a: Counts, b: Counts) =>
    [...a].reduce((sum, [value, count]) => sum + count * (b.get(value) ?? 0), 0);
  const covariance = hits * n - sumOfProducts(golds, predictions);
  const spread = (counts: Counts) => n * n - sumOfProducts(counts, counts);
  // The counts are whole numbers: a spread is 0 exactly where there is one class.
  return covariance === 0 ? 0 : covariance / Math.sqrt(spread(golds)) / Math.sqrt(spread(predictions));
}

/** 2 tp / (2 tp + fp + fn), class 1 the positive one and every other negative. 0 where 1 is neither gold nor predicted, as scikit-learn's f1_score. */
export function f1(pairs: readonly Pair[]): number {
  const hits = pairs.filter(([gold, predicted]) => gold === 1 && predicted === 1).length;
  const marked = pairs.reduce((sum, [gold, predicted]) => sum + Number(gold === 1) + Number(predicted === 1), 0);
  return marked === 0 ? 0 : (2 * hits) / marked;
}

/** Pearson's correlation, -1 to 1. 0 where golds or predictions do not vary, which tells nothing apart: scipy's pearsonr says NaN there. */
export function pearson(pairs: readonly Pair[]): number {
  const golds = deviations(pairs.map(([gold]) => gold));
  const predictions = deviations(pairs.map(([, predicted]) => predicted));
  const product = golds.reduce((sum, gold, i) => sum + gold * predictions[i]!, 0);
  // Rounding must not lead beyond a perfect correlation.
  return Math.max(-1, Math.min(1, product));
}

/** Spearman's correlation: Pearson's of the ranks, equal values at the mean of theirs, as scipy's spearmanr; 0 where that is. */
export function spearman(pairs: readonly Pair[]): number {
  const golds = ranks(pairs.map(([gold]) => gold));
  const predictions = ranks(pairs.map(([, predicted]) => predicted));
  return pearson(golds.map((gold, i) => [gold, predictions[i]!]));
}

type Counts = ReadonlyMap<number, number>;

function countOf(values: readonly number[]): Counts {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}

/** From the mean, scaled to a sum of squares of 1; zeros where the values are all the same. */
function deviations(values: readonly number[]): readonly number[] {
  // Asked of the values: the mean of equal ones may be off by rounding.
  if (values.every((value) => value === values[0])) return values.map(() => 0);
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const norm = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0));
  return values.map((x) => (x - mean) / norm);
}

/** From 1, in the order of the values. */
function ranks(values: readonly number[]): readonly number[] {
  const order = [...values.keys()].toSorted((a, b) => values[a]! - values[b]!);
  const result: number[] = [];
  for (let from = 0; from < order.length;) {
    const value = values[order[from]!]!;
    let to = from;
    while (to < order.length && values[order[to]!] === value) to++;
    // Places from + 1 to `to` share their mean.
    for (const place of order.slice(from, to)) result[place] = (from + 1 + to) / 2;
    from = to;
  }
  return result;
}
