/** Pages of the key-value cache: free, held by requests, or idle: nobody's, but their content is kept for whoever may need it again. Pure bookkeeping, no device. */

export class PagePool {
  readonly total: number;
  #free: number[];
  #holders: Uint32Array;
  #isKept: Uint8Array;
  /** Kept without a holder, the least recently released first. */
  #idle = new Set<number>();
  #onEvict: (page: number) => void;

  /** `onEvict` is told of an idle page that is given to another holder. */
  constructor(total: number, onEvict: (page: number) => void = () => undefined) {
    this.total = total;
    // Popped from the end, so that page 0 is given first.
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i);
    this.#holders = new Uint32Array(total);
    this.#isKept = new Uint8Array(total);
    this.#onEvict = onEvict;
  }

  /** Pages that take() can give. */
  get available(): number {
    return this.#free.length + this.#idle.size;
  }

  get idle(): number {
    return this.#idle.size;
  }

  /** Pages that requests hold. */
  get held(): number {
    return this.total - this.available;
  }

  isIdle(page: number): boolean {
    return this.#idle.has(page);
  }

  /** A page of its own: a free one, or else the idle one that nobody has used for longest; undefined if there is none. */
  take(): number | undefined {
    const page = this.#free.pop() ?? this.#evict();
    if (page !== undefined) this.#holders[page] = 1;
    return page;
  }

  /** One more holder of a page that is held or idle. */
  share(page: number): void {
    if (!this.#holders[page] && !this.#idle.delete(page)) throw new Error(`page ${page} is free and cannot be shared`);
    this.#holders[page]!++;
  }

  /** One holder less. With the last a page is idle if its content is kept, and free otherwise. */
  release(page: number): void {
    if (!this.#holders[page]) throw new Error(`page ${page} has no holder to be released by`);
    this.#holders[page]!--;
    if (this.#holders[page] > 0) return;
    if (this.#isKept[page]) this.#idle.add(page);
    else this.#free.push(page);
  }

  /** The content of a held page is of use to others from now on. */
  keep(page: number): void {
    if (!this.#holders[page]) throw new Error(`page ${page} has no holder and cannot be kept`);
    this.#isKept[page] = 1;
  }

  #evict(): number | undefined {
    const [page] = this.#idle;
    if (page === undefined) return undefined;
    this.#idle.delete(page);
    this.#isKept[page] = 0;
    this.#onEvict(page);
    return page;
  }
}
