/** How values of several adapters become one (TIES: Yadav et al. 2023, arXiv:2306.01708; DARE: Yu et al. 2023, arXiv:2311.03099), in double precision. */
import type { Random } from "@graft/core/random";

export type Values = Float64Array;
export type Pruning = "none" | "magnitude" | "random";
export type MajoritySignMethod = "total" | "frequency";

export interface Arithmetic {
  readonly pruning: Pruning;
  /** Only values of the sign that most agree on enter, and are averaged: TIES, 3.2 and 3.3. */
  readonly electsSign: boolean;
}

export interface ArithmeticOptions extends Arithmetic {
  /** Part of the values that pruning keeps. */
  readonly density: number;
  readonly majoritySignMethod: MajoritySignMethod;
  /** Of the tensor with this index. */
  readonly random: (index: number) => Random;
}

/**
 * sum_i w_i p(x_i) of pruned tensors of one length; with an elected sign the sum over those that have it, divided by how many they are: sum_i w_i p(x_i) m_i / max(1, sum_i m_i).
 * The sign is elected before the weights are applied.
 */
export function combineValues(
  tensors: readonly Values[],
  weights: readonly number[],
  { pruning, electsSign, density, majoritySignMethod, random }: ArithmeticOptions,
): Values {
  const pruned = tensors.map((x, i) => prune(x, pruning, density, () => random(i)));
  const out = new Float64Array(pruned[0]!.length);
  for (let at = 0; at < out.length; at++) {
    const elected = electsSign ? majoritySign(pruned, at, majoritySignMethod) : 0;
    let [sum, count] = [0, 0];
    for (const [i, x] of pruned.entries()) {
      if (electsSign && Math.sign(x[at]!) !== elected) continue;
      sum += weights[i]! * x[at]!;
      count++;
    }
    out[at] = electsSign ? sum / Math.max(1, count) : sum;
  }
  return out;
}

function prune(x: Values, pruning: Pruning, density: number, random: () => Random): Values {
  if (pruning === "none" || density >= 1) return x;
  return pruning === "magnitude" ? pruneByMagnitude(x, density) : pruneAtRandom(x, density, random());
}

/** Keeps the floor(density n) largest magnitudes; of equal ones the first. */
export function pruneByMagnitude(x: Values, density: number): Values {
  const kept = Math.floor(density * x.length);
  const out = new Float64Array(x.length);
  if (kept === 0) return out;
  const magnitudes = x.map(Math.abs);
  const threshold = magnitudes.toSorted()[x.length - kept]!;
  let equal = kept - magnitudes.reduce((above, m) => above + (m > threshold ? 1 : 0), 0);
  for (const [i, m] of magnitudes.entries()) if (m > threshold || (m === threshold && equal-- > 0)) out[i] = x[i]!;
  return out;
}

/** Keeps each value with probability `density` and divides it by that, so that the expectation stays (DARE, eq. 1). */
export function pruneAtRandom(x: Values, density: number, random: Random): Values {
  const out = new Float64Array(x.length);
  for (let i = 0; i < x.length; i++) if (random.uniform() < density) out[i] = x[i]! / density;
  return out;
}

/** Sign of the sum of the values, or of that of their signs; 1 where that is zero. A value of zero has neither sign. */
function majoritySign(tensors: readonly Values[], at: number, method: MajoritySignMethod): 1 | -1 {
  let sum = 0;
  for (const x of tensors) sum += method === "total" ? x[at]! : Math.sign(x[at]!);
  return sum >= 0 ? 1 : -1;
}

/** The value below which the part `fraction` lies, linear between neighbours. */
export function quantile(values: Values, fraction: number): number {
  const sorted = values.toSorted();
  const at = fraction * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (at - Math.floor(at)) * (above - below);
}
