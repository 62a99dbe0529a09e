/** How long to wait before the engine's process is started again. */

export interface BackoffLimits {
  readonly firstMs: number;
  readonly maxMs: number;
  /** A process that was ready for this long was well: the next wait is the first one again. */
  readonly wellAfterMs: number;
}

export const backoffLimits: BackoffLimits = { firstMs: 500, maxMs: 30_000, wellAfterMs: 60_000 };

/** Waits double with each death in a row: firstMs, 2 firstMs, 4 firstMs ... maxMs. */
export class Backoff {
  #limits: BackoffLimits;
  #next: number;

  constructor(limits: BackoffLimits = backoffLimits) {
    this.#limits = limits;
    this.#next = limits.firstMs;
  }

  /** The wait after a process that was ready for `readyMs`; 0 for one that never was. */
  next(readyMs: number): number {
    const { firstMs, maxMs, wellAfterMs } = this.#limits;
    const wait = readyMs >= wellAfterMs ? firstMs : this.#next;
    this.#next = Math.min(maxMs, wait * 2);
    return wait;
  }
}
