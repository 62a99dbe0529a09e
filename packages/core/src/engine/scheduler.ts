/** What runs next: a pure state machine over waiting and running requests. It knows no device and no clock: the time is given. */
import { EngineBusy } from "../errors/index.ts";
import { FairQueue, NEW_COST, PROMPT_COST } from "./fair-queue.ts";
import { type CachedPage, PrefixCache } from "./prefix-cache.ts";
import { shareRows } from "./share-rows.ts";

/** A request. */
export interface Job {
  /** Name under which it is counted for fairness; "" the base. */
  readonly adapter: string;
  /** What computes its keys and values; "" the base. */
  readonly version: string;
  /** Jobs of one group can share a pass. Asked for while it runs. */
  readonly group: string;
  /** Virtual tokens, prompt, new tokens: grows at its end between passes. */
  readonly ids: readonly number[];
  readonly virtualTokens: number;
  /** Of the first two. */
  readonly promptLength: number;
  /** What `ids` may grow to, its last token included. */
  readonly maxLength: number;
  /** False while something of every token of the prompt is needed, so that none may come from the cache. */
  readonly mayReuse: boolean;
  /** Time at which it fails. */
  readonly deadline?: number | undefined;
}

export interface SchedulerLimits {
  readonly pages: number;
  readonly pageSize: number;
  /** Tokens of a pass. */
  readonly maxRows: number;
  /** Requests that run at once. */
  readonly maxSequences: number;
  /** Tokens, prompts and what they ask for, that may wait; default: any number. */
  readonly maxWaitingTokens?: number | undefined;
  /** Keep pages for later requests that begin alike; default: true. */
  readonly prefixCache?: boolean | undefined;
}

/** Whether the adapter of a job is there. */
export interface Gate<J> {
  /** True: the job runs from now until leave(). False: not yet, and the next pass asks again. */
  enter(job: J): boolean;
  leave(job: J): void;
}

export interface Chosen<J> {
  readonly job: J;
  /** Tokens ids[from, from + tokens) are computed. */
  readonly from: number;
  readonly tokens: number;
  readonly pages: readonly number[];
}

export interface Pass<J> {
  readonly begun: number;
  readonly chosen: readonly Chosen<J>[];
}

export interface SchedulerStats {
  readonly running: number;
  readonly waiting: number;
  readonly waitingTokens: number;
  readonly pagesHeld: number;
  readonly pagesKept: number;
  readonly promptTokens: number;
  readonly cachedPromptTokens: number;
  readonly preemptions: number;
}

/** A job and what the scheduler knows of it. */
interface Place<J> {
  readonly job: J;
  readonly adapter: string;
  /** Order of arrival. */
  readonly number: number;
  readonly pages: number[];
  /** Tokens whose keys and values are computed. */
  computed: number;
  /** Of its pages those that are in the prefix cache, and the last of them. */
  kept: number;
  tail: CachedPage | undefined;
  /** Tokens of the prompt that came from the prefix cache; undefined before it first ran. */
  cachedTokens: number | undefined;
  /** Number of the pass it was in last. */
  lastPass: number;
  isRunning: boolean;
}

/**
 * Requests enter in the order of FairQueue when a sequence, pages for all their ids and their adapter are there, and take one page after the other as they grow. Where none is left,
 * the youngest request of the adapter served most gives way and computes its tokens again later; the oldest never does. A pass has one group, taken in turn; in it single tokens
 * (decoding) go before prompts, of which the oldest gets half of the rows left and the adapter served least the rest.
 */
export class Scheduler<J extends Job> {
  #limits: SchedulerLimits;
  #gate: Gate<J>;
  #cache: PrefixCache;
  #queue = new FairQueue<Place<J>>();
  #places = new Map<J, Place<J>>();
  #running = new Set<Place<J>>();
  /** In the pass under way; those that are removed meanwhile keep their pages until it ends. */
  #inPass = new Set<Place<J>>();
  #arrivals = 0;
  #passes = 0;
  #lastGroup: string | undefined;
  #waitingTokens = 0;
  #promptTokens = 0;
  #cachedPromptTokens = 0;
  #preemptions = 0;
  /** Tokens and milliseconds of the last passes, the older the less. */
  #recent = { tokens: 0, ms: 0 };

  constructor(limits: SchedulerLimits, gate: Gate<J>) {
    this.#limits = limits;
    this.#gate = gate;
    this.#cache = new PrefixCache(limits.pages, limits.pageSize);
  }

  get running(): readonly J[] {
    return [...this.#running].map(({ job }) => job);
  }

  get waiting(): readonly J[] {
    return [...this.#queue].map(({ job }) => job);
  }

  /** Earliest deadline of all. */
  get nextDeadline(): number | undefined {
    let next: number | undefined;
    for (const { deadline } of this.#places.keys())
      if (deadline !== undefined && (next === undefined || deadline < next)) next = deadline;
    return next;
  }

  stats(): SchedulerStats {
    const { pool } = this.#cache;
    return {
      running: this.#running.size,
      waiting: this.#queue.size,
      waitingTokens: this.#waitingTokens,
      pagesHeld: pool.held,
      pagesKept: pool.idle,
      promptTokens: this.#promptTokens,
      cachedPromptTokens: this.#cachedPromptTokens,
      preemptions: this.#preemptions,
    };
  }

  /** Of its prompt, tokens that came from the prefix cache when it first ran. */
  cachedTokens(job: J): number {
    return this.#places.get(job)?.cachedTokens ?? 0;
  }

  /** Throws EngineBusy where too much waits already. What does not fit into all pages is the caller's to refuse. */
  add(job: J): void {
    const { maxWaitingTokens = Number.POSITIVE_INFINITY, pages, pageSize } = this.#limits;
    if (job.maxLength > pages * pageSize)
      throw new Error(`a request of ${job.maxLength} tokens does not fit into ${pages} pages of ${pageSize}`);
    if (this.#waitingTokens > 0 && this.#waitingTokens + job.maxLength > maxWaitingTokens) {
      const seconds = this.#secondsFor(this.#waitingTokens);
      throw new EngineBusy(
        `${this.#waitingTokens} tokens wait to be computed and at most ${maxWaitingTokens} may: try again in ${seconds} s`,
        seconds,
      );
    }
    const place: Place<J> = {
      job,
      adapter: job.adapter,
      number: this.#arrivals++,
      pages: [],
      computed: 0,
      kept: 0,
      tail: undefined,
      cachedTokens: undefined,
      lastPass: 0,
      isRunning: false,
    };
    this.#places.set(job, place);
    this.#queue.push(place);
    this.#waitingTokens += job.maxLength;
  }

  /** It has ended, or nobody wants it any more: whatever it holds is free at once, or with the end of the pass that it is in. */
  remove(job: J): void {
    const place = this.#places.get(job);
    if (!place) return;
    this.#places.delete(job);
    if (place.isRunning) {
      this.#running.delete(place);
      place.isRunning = false;
      if (!this.#inPass.has(place)) this.#release(place);
      this.#gate.leave(job);
    } else {
      this.#queue.delete(place);
      this.#waitingTokens -= job.maxLength;
    }
    if (this.#places.size === 0) this.#queue.reset();
  }

  /** Removes what has passed its deadline. */
  expire(now: number): J[] {
    const late = [...this.#places.keys()].filter(({ deadline }) => deadline !== undefined && deadline <= now);
    for (const job of late) this.remove(job);
    return late;
  }

  /** Begins the next pass; undefined where nothing can run now. end() comes before the next one. */
  next(now: number): Pass<J> | undefined {
    if (this.#inPass.size > 0) throw new Error("the pass before has not ended");
    if (this.#grow()) this.#admit();
    const members = this.#nextGroup();
    if (members.length === 0) return undefined;
    this.#passes++;
    const shares = shareRows(
      members.map((place) => this.#candidate(place)),
      this.#limits.maxRows,
    );
    const chosen = [...shares].map(([{ place }, tokens]): Chosen<J> => {
      this.#inPass.add(place);
      place.lastPass = this.#passes;
      return { job: place.job, from: place.computed, tokens, pages: [...place.pages] };
    });
    return { begun: now, chosen };
  }

  /** The pass is over, and its keys and values are in their pages, but for jobs that failed in it. Ids grow after this. */
  end({ begun, chosen }: Pass<J>, now: number, failed: ReadonlySet<J> = new Set()): void {
    const tokensOf = new Map(chosen.map(({ job, tokens }) => [job, tokens]));
    for (const place of this.#inPass) {
      const { job } = place;
      if (!failed.has(job)) {
        place.computed += tokensOf.get(job)!;
        if (place.computed === job.ids.length) this.#queue.charge(place.adapter, NEW_COST);
        this.#keep(place);
      }
      // Removed while the pass ran.
      if (!place.isRunning) this.#release(place);
    }
    this.#inPass.clear();
    if (this.#places.size === 0) this.#queue.reset();
    const tokens = chosen.reduce((sum, one) => sum + one.tokens, 0);
    this.#recent.tokens = 0.9 * this.#recent.tokens + tokens;
    this.#recent.ms = 0.9 * this.#recent.ms + (now - begun);
  }

  #secondsFor(tokens: number): number {
    const { tokens: done, ms } = this.#recent;
    const seconds = done > 0 ? (tokens * ms) / done / 1000 : 1;
    return Math.min(3600, Math.max(1, Math.ceil(seconds)));
  }

  /** A page for the next token of each that runs. False where requests had to give way. */
  #grow(): boolean {
    const { pageSize } = this.#limits;
    let hadRoom = true;
    for (const place of [...this.#running].toSorted((a, b) => a.number - b.number)) {
      while (place.isRunning && place.pages.length * pageSize < place.job.ids.length) {
        const page = this.#cache.pool.take();
        if (page !== undefined) place.pages.push(page);
        else {
          hadRoom = false;
          this.#preempt(this.#victim());
        }
      }
    }
    return hadRoom;
  }

  #victim(): Place<J> {
    const [oldest, ...others] = [...this.#running].toSorted((a, b) => a.number - b.number);
    const [victim] = others.toSorted(
      (a, b) => this.#queue.served(b.adapter) - this.#queue.served(a.adapter) || b.number - a.number,
    );
    if (!victim) throw new Error(`request ${oldest?.number} runs alone and finds no page`);
    return victim;
  }

  #preempt(place: Place<J>): void {
    this.#running.delete(place);
    place.isRunning = false;
    this.#release(place);
    this.#gate.leave(place.job);
    this.#queue.putBack(place);
    this.#waitingTokens += place.job.maxLength;
    this.#preemptions++;
  }

  #release(place: Place<J>): void {
    // The last first: see PrefixCache.
    for (const page of place.pages.splice(0).toReversed()) this.#cache.pool.release(page);
    place.computed = 0;
    place.kept = 0;
    place.tail = undefined;
  }

  /** Lets requests in. One that finds no pages holds back the others, so that it does not starve; one whose adapter is not there does not. */
  #admit(): void {
    const { maxSequences } = this.#limits;
    const closed = new Set<string>();
    const deferred = new Set<Place<J>>();
    while (this.#running.size < maxSequences) {
      const place = this.#queue.first((one) => !closed.has(one.job.version) && !deferred.has(one));
      if (!place) return;
      const found = this.#match(place);
      if (this.#isComing(place, found.length)) {
        deferred.add(place);
        continue;
      }
      if (!this.#hasRoom(place, found)) return;
      if (this.#gate.enter(place.job)) this.#enter(place, found);
      else closed.add(place.job.version);
    }
  }

  #match({ job }: Place<J>): CachedPage[] {
    // Its last token is computed in any case: what follows it is wanted.
    const most = Math.floor((job.ids.length - 1) / this.#limits.pageSize);
    return this.#limits.prefixCache !== false && job.mayReuse ? this.#cache.match(job.version, job.ids, most) : [];
  }

  /** Does a request that runs compute more of what this one begins with than is there? */
  #isComing({ job }: Place<J>, found: number): boolean {
    if (this.#limits.prefixCache === false || !job.mayReuse) return false;
    const { pageSize } = this.#limits;
    for (const other of this.#running) {
      const { ids, version } = other.job;
      if (version !== job.version || other.computed >= ids.length - 1) continue;
      const most = Math.min(ids.length, job.ids.length - 1);
      let common = 0;
      while (common < most && ids[common] === job.ids[common]) common++;
      const pages = Math.floor(common / pageSize);
      if (pages > found && other.computed < pages * pageSize) return true;
    }
    return false;
  }

  /** Pages for its ids, and one more for each that runs, so that it is not taken back at once. */
  #hasRoom({ job }: Place<J>, found: readonly CachedPage[]): boolean {
    const { pool, pageSize } = this.#cache;
    const idle = found.filter(({ page }) => pool.isIdle(page)).length;
    const own = Math.ceil(job.ids.length / pageSize) - found.length;
    return own + idle + this.#running.size <= pool.available;
  }

  #enter(place: Place<J>, found: readonly CachedPage[]): void {
    const { job, pages } = place;
    const { pool, pageSize } = this.#cache;
    this.#queue.delete(place);
    this.#waitingTokens -= job.maxLength;
    this.#running.add(place);
    place.isRunning = true;
    for (const { page } of found) {
      pool.share(page);
      pages.push(page);
    }
    while (pages.length * pageSize < job.ids.length) pages.push(pool.take()!);
    place.computed = found.length * pageSize;
    place.kept = found.length;
    place.tail = found.at(-1);
    if (place.cachedTokens !== undefined) return;
    place.cachedTokens = Math.max(0, place.computed - job.virtualTokens);
    this.#cachedPromptTokens += place.cachedTokens;
    this.#promptTokens += job.promptLength - job.virtualTokens;
    // What is computed again after it gave way is not its adapter's fault.
    this.#queue.charge(place.adapter, PROMPT_COST * (job.ids.length - place.computed));
  }

  #nextGroup(): Place<J>[] {
    const groups = [...new Set(this.running.map((job) => job.group))].toSorted();
    const last = this.#lastGroup;
    const group = groups.find((name) => last !== undefined && name > last) ?? groups[0];
    this.#lastGroup = group;
    return [...this.#running].filter((place) => place.job.group === group);
  }

  #candidate(place: Place<J>) {
    const { job, adapter, number, computed, lastPass } = place;
    return { place, pending: job.ids.length - computed, number, lastPass, served: this.#queue.served(adapter) };
  }

  /** Puts pages that are full now into the prefix cache; one that is there already is taken instead of the own. */
  #keep(place: Place<J>): void {
    if (this.#limits.prefixCache === false) return;
    const { job, pages } = place;
    const { pool, pageSize } = this.#cache;
    for (; (place.kept + 1) * pageSize <= place.computed; place.kept++) {
      const own = pages[place.kept]!;
      place.tail = this.#cache.add(own, job.version, place.tail, job.ids, place.kept * pageSize);
      const { page } = place.tail;
      if (page === own) continue;
      pool.share(page);
      pool.release(own);
      pages[place.kept] = page;
    }
  }
}
