/**
 * Requests that wait, by adapter: the adapter that has been served least goes first. A virtual token counter as in Sheng et al. 2024, "Fairness in Serving Large Language
 * Models", arXiv:2401.00588, algorithm 2. Pure bookkeeping.
 */

/** What a token of the prompt and a new token cost, as in the paper. */
export const PROMPT_COST = 1;
export const NEW_COST = 2;

export class FairQueue<T extends { readonly adapter: string }> {
  /** Without empty ones. */
  #queues = new Map<string, T[]>();
  #served = new Map<string, number>();
  /** Adapter whose request left last. */
  #last: string | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** What an adapter has been served, in the costs above; adapters that come again after a pause begin at what the least served of those that wait has had. */
  served(adapter: string): number {
    return this.#served.get(adapter) ?? 0;
  }

  charge(adapter: string, cost: number): void {
    this.#served.set(adapter, this.served(adapter) + cost);
  }

  push(item: T): void {
    const { adapter } = item;
    if (!this.#queues.has(adapter)) this.#lift(adapter);
    this.#add(adapter, (queue) => queue.push(item));
  }

  /** In front of the others of its adapter: it has run before. */
  putBack(item: T): void {
    this.#add(item.adapter, (queue) => queue.unshift(item));
  }

  delete(item: T): void {
    const queue = this.#queues.get(item.adapter);
    const at = queue?.indexOf(item) ?? -1;
    if (!queue || at < 0) return;
    queue.splice(at, 1);
    this.#size--;
    this.#last = item.adapter;
    if (queue.length === 0) this.#queues.delete(item.adapter);
  }

  /** The first that will do of the adapter served least, of the next one where none will. */
  first(willDo: (item: T) => boolean): T | undefined {
    const order = [...this.#queues.keys()].toSorted((a, b) => this.served(a) - this.served(b));
    for (const adapter of order) {
      const item = this.#queues.get(adapter)!.find(willDo);
      if (item) return item;
    }
    return undefined;
  }

  *[Symbol.iterator](): IterableIterator<T> {
    for (const queue of this.#queues.values()) yield* queue;
  }

  /** Nobody owes anybody anything: for when nothing waits and nothing runs. */
  reset(): void {
    this.#served.clear();
    this.#last = undefined;
  }

  #add(adapter: string, put: (queue: T[]) => void): void {
    const queue = this.#queues.get(adapter) ?? [];
    this.#queues.set(adapter, queue);
    put(queue);
    this.#size++;
  }

  #lift(adapter: string): void {
    const others = [...this.#queues.keys()].map((other) => this.served(other));
    const least = others.length > 0 ? others.reduce((a, b) => Math.min(a, b)) : this.served(this.#last ?? adapter);
    this.#served.set(adapter, Math.max(this.served(adapter), least));
  }
}
