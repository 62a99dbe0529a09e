/** What runs next. A pure state machine over waiting and running requests; it imports nothing and knows no device. */

export interface Job {
  /** Requests of one group can share a pass: same adapter version, or none. */
  readonly group: string;
  /** Tokens whose keys and values are still to be computed. */
  pending(): number;
}

export interface Chosen<J extends Job> {
  readonly job: J;
  /** How many of its pending tokens go into this pass. */
  readonly tokens: number;
}

export interface SchedulerLimits {
  readonly maxRows: number;
  readonly maxSequences: number;
}

/**
 * Chooses the next pass: one group, taken in turn, so that no adapter waits for more than one pass of each other one. Within a group single tokens
 * (decoding) go before prompt chunks, which fill what rows are left, oldest first.
 */
export class Scheduler<J extends Job> {
  #limits: SchedulerLimits;
  #running: J[] = [];
  #lastGroup: string | undefined;

  constructor(limits: SchedulerLimits) {
    this.#limits = limits;
  }

  get running(): readonly J[] {
    return this.#running;
  }

  add(job: J): void {
    this.#running.push(job);
  }

  remove(job: J): void {
    this.#running = this.#running.filter((other) => other !== job);
  }

  /** Empty when nothing is running. */
  next(): Chosen<J>[] {
    const groups = [...new Set(this.#running.map((job) => job.group))].toSorted();
    if (groups.length === 0) return [];
    const group = groups.find((name) => this.#lastGroup === undefined || name > this.#lastGroup) ?? groups[0]!;
    this.#lastGroup = group;
    const members = this.#running.filter((job) => job.group === group);
    const order = [...members.filter((job) => job.pending() === 1), ...members.filter((job) => job.pending() > 1)];
    const chosen: Chosen<J>[] = [];
    let left = this.#limits.maxRows;
    for (const job of order) {
      if (left === 0 || chosen.length === this.#limits.maxSequences) break;
      const tokens = Math.min(job.pending(), left);
      left -= tokens;
      chosen.push({ job, tokens });
    }
    return chosen;
  }
}
