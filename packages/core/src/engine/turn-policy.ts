/** When training may take the device from decoding. Pure: durations are given. */

export interface TurnPolicyOptions {
  /** Most milliseconds that lie between two tokens of a request, on the average over a turn of training and the passes that pay for it. */
  readonly targetMs: number;
  /** Of the time, what training gets whatever the target: otherwise passes slower than the target would stop it for ever. */
  readonly minShare?: number;
}

/** Share of the time that training gets at the least. */
export const MIN_TRAINING_SHARE = 0.05;

/**
 * A turn of M ms leaves a debt of M that passes pay off: one of D ms, in which a share s of the requests that decode got a token, pays s * target - D. The next turn is due
 * when all is paid, which for equal passes is after ceil(M / (target - D)) of them: so the mean time between tokens stays under the target however long turns and passes are. It is due earlier
 * when the passes since took (1 / minShare - 1) * M.
 */
export class TurnPolicy {
  #targetMs: number;
  #passMsPerTurnMs: number;
  #debtMs = 0;
  #passMs = 0;
  #lastTurnMs = 0;

  constructor({ targetMs, minShare = MIN_TRAINING_SHARE }: TurnPolicyOptions) {
    this.#targetMs = targetMs;
    this.#passMsPerTurnMs = 1 / minShare - 1;
  }

  get isDue(): boolean {
    return this.#debtMs <= 0 || this.#passMs >= this.#passMsPerTurnMs * this.#lastTurnMs;
  }

  /** A pass has ended. `share`: of the requests that decode, those it had a token for; 1 where none decodes. */
  passed(ms: number, share: number): void {
    this.#passMs += ms;
    this.#debtMs -= share * this.#targetMs - ms;
  }

  /** A turn has ended; `isInTheWay`: requests waited for it. */
  trained(ms: number, isInTheWay: boolean): void {
    this.#passMs = 0;
    this.#lastTurnMs = isInTheWay ? ms : 0;
    this.#debtMs = this.#lastTurnMs;
  }
}
