/** AdaLoRA's allocation of ranks over the layers while training (Zhang et al. 2023, arXiv:2303.10512, section 3; PEFT's update_and_allocate). */
import type { AfterStep, StepValues } from "@graft/core/nn";

export interface RankSchedule {
  /** Steps with all ranks. */
  readonly tinit: number;
  /** Last steps, with the ranks as they are then. */
  readonly tfinal: number;
  /** Steps between allocations. */
  readonly deltaT: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly totalSteps: number;
  /** Mean rank at the end. */
  readonly targetRank: number;
}

/** Keys of one layer's B diag(E) A: [out, rank], [rank, 1], [rank, in]. */
export interface Triplet {
  readonly A: string;
  readonly E: string;
  readonly B: string;
  readonly rank: number;
}

/** Smoothed sensitivity and uncertainty of every value of a tensor. */
interface Importance {
  readonly sensitivity: Float32Array;
  readonly uncertainty: Float32Array;
}

/**
 * Singular values that matter least are set to zero, over all layers together, until targetRank is left of each on average. They may come back until tfinal steps
 * before the end; from then on the choice stands.
 */
export class RankAllocator implements AfterStep {
  readonly #schedule: RankSchedule;
  readonly #triplets: readonly Triplet[];
  #importance = new Map<string, Importance>();
  /** By E's key: 1 where a singular value stays. */
  #kept = new Map<string, Float32Array>();

  constructor(schedule: RankSchedule, triplets: readonly Triplet[]) {
    this.#schedule = schedule;
    this.#triplets = triplets;
  }

  /** How many singular values are kept after a step, and whether it chooses them anew (eq. 12). */
  budget(step: number): { readonly count: number; readonly isDue: boolean } {
    const { tinit, tfinal, deltaT, totalSteps, targetRank } = this.#schedule;
    const all = this.#triplets.reduce((sum, { rank }) => sum + rank, 0);
    const target = targetRank * this.#triplets.length;
    if (step <= tinit) return { count: all, isDue: false };
    if (step >= totalSteps - tfinal) return { count: target, isDue: step === totalSteps - tfinal };
    const left = 1 - (step - tinit) / (totalSteps - tfinal - tinit);
    return { count: Math.trunc((all - target) * left ** 3 + target), isDue: step % deltaT === 0 };
  }

  async run(step: number, values: StepValues): Promise<void> {
    const end = this.#schedule.totalSteps - this.#schedule.tfinal;
    if (step < end) await this.#observe(values);
    const { count, isDue } = this.budget(step);
    if (isDue) this.#choose(count);
    if (step >= end) this.#importance.clear();
    if (isDue || step > end) await this.#mask(values);
  }

  state(): ReadonlyMap<string, Float32Array> {
    const state = new Map<string, Float32Array>();
    for (const [key, { sensitivity, uncertainty }] of this.#importance)
      state.set(`sensitivity/${key}`, sensitivity).set(`uncertainty/${key}`, uncertainty);
    for (const [key, kept] of this.#kept) state.set(`kept/${key}`, kept);
    return state;
  }

  restore(state: ReadonlyMap<string, Float32Array>): void {
    for (const key of this.#triplets.flatMap(({ A, E, B }) => [A, E, B])) {
      const [sensitivity, uncertainty] = [state.get(`sensitivity/${key}`), state.get(`uncertainty/${key}`)];
      if (sensitivity && uncertainty) this.#importance.set(key, { sensitivity, uncertainty });
      const kept = state.get(`kept/${key}`);
      if (kept) this.#kept.set(key, kept);
    }
  }

  /** I = |w dw|, smoothed; its uncertainty is how far each new I is from the mean (eqs. 8 to 10). */
  async #observe(values: StepValues): Promise<void> {
    const { beta1, beta2 } = this.#schedule;
    for (const key of this.#triplets.flatMap(({ A, E, B }) => [A, E, B])) {
      const [w, g] = await Promise.all([values.parameter(key), values.gradient(key)]);
      const before = this.#importance.get(key);
      const sensitivity = w.map((x, i) => beta1 * (before?.sensitivity[i] ?? 0) + (1 - beta1) * Math.abs(x * g[i]!));
      const uncertainty = w.map((x, i) => {
        const distance = Math.abs(Math.abs(x * g[i]!) - sensitivity[i]!);
        return beta2 * (before?.uncertainty[i] ?? 0) + (1 - beta2) * distance;
      });
      this.#importance.set(key, { sensitivity, uncertainty });
    }
  }

  /** Keeps those above the (all - count)-th smallest score. */
  #choose(count: number): void {
    const scores = this.#triplets.map((triplet) => this.#scores(triplet));
    const sorted = Float64Array.from(scores.flatMap((own) => [...own])).toSorted();
    const cut = sorted.length - count;
    const threshold = cut > 0 ? sorted[cut - 1]! : Number.NEGATIVE_INFINITY;
    for (const [i, { E }] of this.#triplets.entries())
      this.#kept.set(
        E,
        Float32Array.from(scores[i]!, (score) => (score <= threshold ? 0 : 1)),
      );
  }

  /** Of each singular triplet: s(E_i) + mean over j of s(A_ij) + mean over j of s(B_ji), s being sensitivity times uncertainty (eqs. 7 and 11). */
  #scores({ A, E, B, rank }: Triplet): Float64Array {
    const scores = new Float64Array(rank);
    const addMeans = (key: string, indexOf: (at: number) => number): void => {
      const { sensitivity, uncertainty } = this.#importance.get(key)!;
      const each = sensitivity.length / rank;
      for (let at = 0; at < sensitivity.length; at++)
        scores[indexOf(at)]! += (sensitivity[at]! * uncertainty[at]!) / each;
    };
    addMeans(E, (at) => at);
    const inDim = this.#importance.get(A)!.sensitivity.length / rank;
    addMeans(A, (at) => Math.floor(at / inDim));
    addMeans(B, (at) => at % rank);
    return scores;
  }

  async #mask(values: StepValues): Promise<void> {
    for (const [key, kept] of this.#kept) {
      const own = await values.parameter(key);
      values.write(
        key,
        own.map((x, i) => x * kept[i]!),
      );
    }
  }
}
