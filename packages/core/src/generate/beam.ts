/** Beam search as transformers 5 does it, without tensors: given the log-probabilities of the running beams, what runs next and what has finished. */

export interface BeamOptions {
  readonly beams: number;
  readonly maxNewTokens: number;
  readonly lengthPenalty: number;
  readonly earlyStopping: boolean;
  readonly eosTokenIds: ReadonlySet<number>;
}

export interface Beam {
  readonly ids: readonly number[];
  /** Sum of log-probabilities. */
  readonly logprob: number;
  /** Index of the running beam it continues. */
  readonly parent: number;
}

export interface Hypothesis {
  readonly ids: readonly number[];
  /** logprob / length ** lengthPenalty. */
  readonly score: number;
}

const NEVER = -1e9;

export class BeamSearch {
  running: readonly Beam[];
  isDone = false;
  #finished: Hypothesis[] = [];
  #options: BeamOptions;

  constructor(options: BeamOptions) {
    this.#options = options;
    // All beams begin alike: only the first may win, or all would stay equal.
    this.running = Array.from({ length: options.beams }, (_, i) => ({
      ids: [],
      logprob: i === 0 ? 0 : NEVER,
      parent: i,
    }));
  }

  /** One step. logprobs: of the next token for each running beam, in their order. */
  advance(logprobs: readonly Float64Array[]): void {
    const { beams, eosTokenIds, maxNewTokens, lengthPenalty, earlyStopping } = this.#options;
    const length = this.running[0]!.ids.length + 1;
    const width = Math.max(2, 1 + eosTokenIds.size) * beams;
    const candidates = topCandidates(this.running, logprobs, width);
    const ends = (c: Candidate): boolean => eosTokenIds.has(c.id) || length >= maxNewTokens;
    const toBeam = (c: Candidate): Beam => ({
      ids: [...this.running[c.parent]!.ids, c.id],
      logprob: c.logprob,
      parent: c.parent,
    });

    // Only the best `beams` candidates may finish; with early stopping none does once enough have.
    const isFull = this.#finished.length >= beams && earlyStopping;
    const finishedNow = isFull
      ? []
      : candidates
          .slice(0, beams)
          .filter(ends)
          .map((c) => ({ ids: toBeam(c).ids, score: c.logprob / length ** lengthPenalty }));
    this.#finished = [...this.#finished, ...finishedNow].toSorted((a, b) => b.score - a.score).slice(0, beams);
    this.running = candidates
      .filter((c) => !ends(c))
      .slice(0, beams)
      .map(toBeam);
    this.isDone = this.running.length < beams || length >= maxNewTokens || !this.#canImprove(length);
  }

  /** The best `count` hypotheses, best first. */
  results(count: number): Hypothesis[] {
    return this.#finished.slice(0, count);
  }

  #canImprove(length: number): boolean {
    const { beams, lengthPenalty, earlyStopping } = this.#options;
    if (this.#finished.length < beams) return true;
    if (earlyStopping) return false;
    const best = this.running[0]!.logprob / length ** lengthPenalty;
    return best > this.#finished.at(-1)!.score;
  }
}

interface Candidate {
  readonly parent: number;
  readonly id: number;
  readonly logprob: number;
}

/** The `count` best continuations over all beams, best first; ties by beam, then id. */
function topCandidates(running: readonly Beam[], logprobs: readonly Float64Array[], count: number): Candidate[] {
  const best: Candidate[] = [];
  for (const [parent, beam] of running.entries()) {
    const own = logprobs[parent]!;
    for (let id = 0; id < own.length; id++) {
      const logprob = beam.logprob + own[id]!;
      if (best.length === count && logprob <= best.at(-1)!.logprob) continue;
      let at = best.length;
      while (at > 0 && best[at - 1]!.logprob < logprob) at--;
      best.splice(at, 0, { parent, id, logprob });
      if (best.length > count) best.pop();
    }
  }
  return best;
}
