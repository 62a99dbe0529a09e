/** Pages of the key-value cache: who holds which. Pure bookkeeping, no device. */

import { DataError } from "../errors/index.ts";

export class PageAllocator {
  readonly total: number;
  #free: number[];
  #holders: Uint32Array;

  constructor(total: number) {
    this.total = total;
    // Popped from the end, so that page 0 is given first.
    this.#free = Array.from({ length: total }, (_, i) => total - 1 - i);
    this.#holders = new Uint32Array(total);
  }

  get free(): number {
    return this.#free.length;
  }

  get used(): number {
    return this.total - this.#free.length;
  }

  /** A page of its own, or undefined if none is left. */
  take(): number | undefined {
    const page = this.#free.pop();
    if (page !== undefined) this.#holders[page] = 1;
    return page;
  }

  /** A page of its own. Throws DataError if none is left. */
  claim(): number {
    const page = this.take();
    if (page === undefined) throw new DataError(`the cache of ${this.total} pages is full`);
    return page;
  }

  /** One more holder of a page. */
  share(page: number): void {
    if (!this.#holders[page]) throw new Error(`page ${page} is free and cannot be shared`);
    this.#holders[page]!++;
  }

  isShared(page: number): boolean {
    return this.#holders[page]! > 1;
  }

  /** One holder less; free with the last. */
  release(page: number): void {
    if (!this.#holders[page]) throw new Error(`page ${page} is free already`);
    this.#holders[page]!--;
    if (this.#holders[page] === 0) this.#free.push(page);
  }
}
