import { expect, test } from "bun:test";
import { Random } from "@graft/core/random";
import { f1, matthews, type Pair, pearson, spearman } from "./classification-metrics.ts";

const zip = (golds: readonly number[], predictions: readonly number[]): Pair[] =>
  golds.map((gold, i) => [gold, predictions[i]!]);
const golds = (pairs: readonly Pair[]) => pairs.map(([gold]) => gold);
const predictions = (pairs: readonly Pair[]) => pairs.map(([, predicted]) => predicted);

// scikit-learn 1.9.1 and scipy 1.17.1: python -c "from sklearn.metrics import *; from scipy.stats import *; g = [...]; p = [...];
// print(matthews_corrcoef(g, p), f1_score(g, p), pearsonr(g, p)[0], spearmanr(g, p)[0])" with the lists below.
test("the values are scikit-learn's and scipy's", () => {
  const binary = zip([1, 0, 1, 1, 0, 1, 0, 0, 1, 1], [1, 0, 0, 1, 1, 1, 0, 1, 1, 0]);
  expect(matthews(binary)).toBeCloseTo(0.16666666666666666, 15);
  expect(f1(binary)).toBeCloseTo(0.6666666666666666, 15);
  const several = zip([0, 1, 2, 0, 1, 2, 2, 1, 0, -1, 2, 0], [0, 2, 2, 0, 1, 1, 2, -1, 0, 1, 2, 2]);
  expect(matthews(several)).toBeCloseTo(0.4158619680502032, 15);
  // Two equal golds and two equal predictions.
  const ratings = zip([0, 1.25, 2.5, 3.8, 5, 4.2, 2.5, 1], [0.5, 1, 2, 4.5, 4.75, 4.5, 3.1, 2]);
  expect(pearson(ratings)).toBeCloseTo(0.950687777026461, 14);
  expect(spearman(ratings)).toBeCloseTo(0.9394111922831737, 14);
});

test("a perfect prediction is 1, a reversed one -1 or 0", () => {
  const perfect = zip([0, 1, 1, 0], [0, 1, 1, 0]);
  const reversed = zip([0, 1, 1, 0], [1, 0, 0, 1]);
  for (const metric of [matthews, f1, pearson, spearman]) expect(metric(perfect)).toBeCloseTo(1, 15);
  for (const metric of [matthews, pearson, spearman]) expect(metric(reversed)).toBeCloseTo(-1, 15);
  expect(f1(reversed)).toBe(0);
});

test("where the formula divides by zero the value is 0", () => {
  const inputs = [[], zip([0, 0], [0, 0]), zip([0, 1, 0], [0, 0, 0]), zip([0], [0])];
  for (const metric of [matthews, f1, pearson, spearman]) for (const pairs of inputs) expect(metric(pairs)).toBe(0);
  // Right every time, of the one class that there is.
  expect(matthews(zip([1, 1, 1], [1, 1, 1]))).toBe(0);
  expect(f1(zip([1, 1], [1, 1]))).toBe(1);
  // The mean of seven times 0.1 is not 0.1.
  const same = Array.from({ length: 7 }, () => 0.1);
  expect(pearson(zip([1, 2, 3, 4, 5, 6, 7], same))).toBe(0);
  expect(pearson(zip([1, 2, 3], [-1e9, -2e9, -3e9]))).toBeCloseTo(-1, 15);
});

test("random pairs: equal to the definitions, of no order, within their bounds", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Random(seed);
    const classes = 2 + random.int(3);
    const pairs = zip(
      Array.from({ length: 2 + random.int(30) }, () => random.int(classes)),
      Array.from({ length: 32 }, () => random.int(classes) - random.int(2)),
    );
    const want = {
      matthews: byOneHot(pairs),
      f1: byPrecisionAndRecall(pairs),
      pearson: byCovariance(golds(pairs), predictions(pairs)),
      spearman: byCovariance(countedRanks(golds(pairs)), countedRanks(predictions(pairs))),
    };
    const shuffled = random.shuffle([...pairs]);
    for (const [name, metric] of Object.entries({ matthews, f1, pearson, spearman })) {
      const where = `seed ${seed}: ${name}`;
      const got = metric(pairs);
      expect(Math.abs(got - want[name as keyof typeof want]), where).toBeLessThan(1e-12);
      expect(Math.abs(got - metric(shuffled)), where).toBeLessThan(1e-12);
      expect(Math.abs(got), where).toBeLessThanOrEqual(1 + 1e-15);
    }
  }
});

/** Gorodkin's definition: the correlation of the one-hot matrices, covariances summed over classes. */
function byOneHot(pairs: readonly Pair[]): number {
  const classes = [...new Set(pairs.flat())];
  const sum = (a: readonly number[], b: readonly number[]) =>
    classes.reduce(
      (total, k) =>
        total +
        covariance(
          a.map((x) => Number(x === k)),
          b.map((x) => Number(x === k)),
        ),
      0,
    );
  const [x, y] = [golds(pairs), predictions(pairs)];
  const scale = Math.sqrt(sum(x, x) * sum(y, y));
  return scale < 1e-12 ? 0 : sum(x, y) / scale;
}

function byPrecisionAndRecall(pairs: readonly Pair[]): number {
  const count = (test: (pair: Pair) => boolean) => pairs.filter(test).length;
  const hits = count(([gold, predicted]) => gold === 1 && predicted === 1);
  if (hits === 0) return 0;
  const precision = hits / count(([, predicted]) => predicted === 1);
  const recall = hits / count(([gold]) => gold === 1);
  return (2 * precision * recall) / (precision + recall);
}

function covariance(x: readonly number[], y: readonly number[]): number {
  const n = x.length;
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  return sum(x.map((value, i) => value * y[i]!)) / n - (sum(x) / n) * (sum(y) / n);
}

function byCovariance(x: readonly number[], y: readonly number[]): number {
  const scale = Math.sqrt(Math.max(0, covariance(x, x)) * Math.max(0, covariance(y, y)));
  return scale < 1e-12 ? 0 : covariance(x, y) / scale;
}

/** Values below, and half of the equal ones. */
function countedRanks(values: readonly number[]): number[] {
  return values.map((own) => values.filter((x) => x < own).length + (values.filter((x) => x === own).length + 1) / 2);
}
