/** From logits to the next token: OpenAI's bias and penalties, and transformers' logits processors and warpers in its order. */
import type { Random } from "../random/index.ts";
import type { GenerateOptions } from "./language-model.ts";

/** Scores of one position, changed in place; removed entries are -Infinity. `ids`: everything before, prompt included. */
export type Processor = (scores: Float64Array, ids: readonly number[]) => void;

/** score / t. */
export const temperature =
  (t: number): Processor =>
  (scores) => {
    for (let i = 0; i < scores.length; i++) scores[i]! /= t;
  };

/** Keeps the k highest, and all equal to the k-th. */
export const topK =
  (k: number): Processor =>
  (scores) => {
    if (k >= scores.length) return;
    const limit = scores.toSorted()[scores.length - k]!;
    removeWhere(scores, (score) => score < limit);
  };

/** Keeps the smallest set of highest entries whose probability reaches p (Holtzman et al. 2019, arXiv:1904.09751), at least one. */
export const topP =
  (p: number): Processor =>
  (scores) => {
    const probabilities = softmax(scores);
    const order = orderOf(probabilities).toReversed();
    // transformers removes from the low end while the cumulated probability stays within 1 - p.
    let sum = 0;
    for (const i of order.slice(0, -1)) {
      sum += probabilities[i]!;
      if (sum > 1 - p) break;
      scores[i] = Number.NEGATIVE_INFINITY;
    }
  };

/** Keeps entries with at least p times the probability of the best. */
export const minP =
  (p: number): Processor =>
  (scores) => {
    const probabilities = softmax(scores);
    const limit = p * probabilities.reduce((a, b) => Math.max(a, b), 0);
    for (let i = 0; i < scores.length; i++) if (probabilities[i]! < limit) scores[i] = Number.NEGATIVE_INFINITY;
  };

/** Keeps the entries whose surprise is nearest to the entropy, up to mass p (Meister et al. 2022, arXiv:2202.00666). */
export const typicalP =
  (p: number): Processor =>
  (scores) => {
    const logs = logSoftmax(scores);
    let entropy = 0;
    for (const log of logs) if (log > Number.NEGATIVE_INFINITY) entropy -= Math.exp(log) * log;
    const shifted = logs.map((log) => Math.abs(-log - entropy));
    const order = [...shifted.keys()].toSorted((a, b) => shifted[a]! - shifted[b]!);
    let sum = 0;
    let last = 0;
    for (const [n, i] of order.entries()) {
      sum += Math.exp(logs[i]!);
      if (sum >= p) {
        last = n;
        break;
      }
      last = n;
    }
    const limit = shifted[order[last]!]!;
    for (let i = 0; i < scores.length; i++) if (shifted[i]! > limit) scores[i] = Number.NEGATIVE_INFINITY;
  };

/** Divides positive scores of tokens already seen by the penalty and multiplies negative ones (Keskar et al. 2019, arXiv:1909.05858). */
export const repetitionPenalty =
  (penalty: number): Processor =>
  (scores, ids) => {
    for (const id of new Set(ids)) scores[id] = scores[id]! < 0 ? scores[id]! * penalty : scores[id]! / penalty;
  };

/** Removes tokens that would repeat an n-gram. */
export const noRepeatNgram =
  (n: number): Processor =>
  (scores, ids) => {
    if (ids.length + 1 < n) return;
    const tail = n === 1 ? [] : ids.slice(-(n - 1));
    for (let i = 0; i + n <= ids.length; i++) {
      if (tail.every((id, j) => ids[i + j] === id)) scores[ids[i + n - 1]!] = Number.NEGATIVE_INFINITY;
    }
  };

/** score += bias. Ids outside the vocabulary have no score. */
export const logitBias = (bias: Readonly<Record<number, number>>): Processor => {
  const entries = Object.entries(bias).map(([id, value]) => [Number(id), value] as const);
  return (scores) => {
    for (const [id, value] of entries) if (id < scores.length) scores[id]! += value;
  };
};

/** score -= count * frequency + (count > 0) * presence, count: how often the token stands at or after index `from`. OpenAI's API reference, "frequency and presence penalties". */
export const countPenalties =
  (frequency: number, presence: number, from: number): Processor =>
  (scores, ids) => {
    const counts = new Map<number, number>();
    for (let i = from; i < ids.length; i++) counts.set(ids[i]!, (counts.get(ids[i]!) ?? 0) + 1);
    for (const [id, count] of counts) scores[id]! -= count * frequency + presence;
  };

/**
 * The processors that options ask for, in vLLM's order: bias, penalties, then transformers' order. promptLength: real (not virtual) ids before the generated ones. Greedy
 * decoding and beams take those that are not about sampling.
 */
export function processorsFor(options: GenerateOptions, promptLength: number): Processor[] {
  const { frequencyPenalty = 0, presencePenalty = 0 } = options;
  const list: Processor[] = [];
  if (hasBias(options)) list.push(logitBias(options.logitBias!));
  if (options.repetitionPenalty !== undefined && options.repetitionPenalty !== 1)
    list.push(repetitionPenalty(options.repetitionPenalty));
  if (frequencyPenalty !== 0 || presencePenalty !== 0)
    list.push(countPenalties(frequencyPenalty, presencePenalty, promptLength));
  if (options.noRepeatNgramSize) list.push(noRepeatNgram(options.noRepeatNgramSize));
  if (!options.temperature) return list;
  if (options.temperature !== 1) list.push(temperature(options.temperature));
  if (options.topK) list.push(topK(options.topK));
  if (options.topP !== undefined && options.topP < 1) list.push(topP(options.topP));
  if (options.minP) list.push(minP(options.minP));
  if (options.typicalP !== undefined && options.typicalP < 1) list.push(typicalP(options.typicalP));
  return list;
}

/** Runs processors over the scores that follow `ids`. They see the vocabulary's tokens alone: `ids` may begin with virtual ones, which are negative. */
export function applyProcessors(processors: readonly Processor[], scores: Float64Array, ids: readonly number[]): void {
  if (processors.length === 0) return;
  const real = ids.filter((id) => id >= 0);
  for (const process of processors) process(scores, real);
}

/** How the device chooses a token (kernel `sample`). */
export interface Draw {
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: all. */
  readonly topK: number;
  /** 1: all. */
  readonly topP: number;
  /** In [0, 1): how far through the kept probability the token lies. */
  readonly uniform: number;
}

export const GREEDY: Draw = { temperature: 0, topK: 0, topP: 1, uniform: 0 };

/**
 * The next token as the device can choose it; undefined where options ask for processors that only the host has. Takes one number from `random`, as `sample` does, so
 * that a request's tokens depend on its own options and seed alone.
 */
export function drawFor(options: GenerateOptions, random: Random): Draw | undefined {
  const { temperature = 0, topK = 0, topP = 1, minP = 0, typicalP = 1 } = options;
  if ((options.repetitionPenalty ?? 1) !== 1 || options.noRepeatNgramSize) return undefined;
  if (options.frequencyPenalty || options.presencePenalty || hasBias(options)) return undefined;
  if (temperature === 0) return GREEDY;
  if (minP > 0 || typicalP < 1) return undefined;
  // Rounded down: in f32 the largest numbers below 1 would become 1.
  return { temperature, topK, topP, uniform: Math.floor(random.uniform() * 2 ** 24) / 2 ** 24 };
}

/** Index of the highest score, the first of equals. */
export function argmax(scores: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[best]!) best = i;
  return best;
}

/** Draws an index with probability softmax(scores). */
export function sample(scores: Float64Array, random: Random): number {
  const probabilities = softmax(scores);
  let left = random.uniform();
  let last = 0;
  for (let i = 0; i < probabilities.length; i++) {
    if (probabilities[i] === 0) continue;
    last = i;
    left -= probabilities[i]!;
    if (left < 0) return i;
  }
  return last;
}

export function logSoftmax(scores: ArrayLike<number>): Float64Array {
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < scores.length; i++) top = Math.max(top, scores[i]!);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += Math.exp(scores[i]! - top);
  const lse = top + Math.log(sum);
  return Float64Array.from({ length: scores.length }, (_, i) => scores[i]! - lse);
}

export function softmax(scores: ArrayLike<number>): Float64Array {
  return logSoftmax(scores).map(Math.exp);
}

function hasBias({ logitBias }: GenerateOptions): boolean {
  return logitBias !== undefined && Object.keys(logitBias).length > 0;
}

/** Indexes by falling value; equal values keep their order. */
function orderOf(values: Float64Array): number[] {
  return [...values.keys()].toSorted((a, b) => values[b]! - values[a]! || a - b);
}

function removeWhere(scores: Float64Array, test: (score: number) => boolean): void {
  for (let i = 0; i < scores.length; i++) if (test(scores[i]!)) scores[i] = Number.NEGATIVE_INFINITY;
}
