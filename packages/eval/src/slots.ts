/** Turns: at most so many at a time. */

/** Runs `work` with the number of a free slot, 0 to count - 1, in the order of asking. A signal that comes before the turn rejects with its reason. */
type WithSlot = <T>(work: (slot: number) => Promise<T>, signal?: AbortSignal) => Promise<T>;

export function slots(count: number): WithSlot {
  const free = Array.from({ length: count }, (_, i) => i);
  const waiting = new Set<(slot: number) => void>();

  function take(signal: AbortSignal | undefined): Promise<number> {
    signal?.throwIfAborted();
    const slot = free.shift();
    if (slot !== undefined) return Promise.resolve(slot);
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        waiting.delete(turn);
        reject(signal!.reason as Error);
      };
      const turn = (given: number): void => {
        signal?.removeEventListener("abort", leave);
        resolve(given);
      };
      waiting.add(turn);
      signal?.addEventListener("abort", leave, { once: true });
    });
  }

  function giveBack(slot: number): void {
    const [next] = waiting;
    if (!next) {
      free.push(slot);
      return;
    }
    waiting.delete(next);
    next(slot);
  }

  return async (work, signal) => {
    const slot = await take(signal);
    try {
      return await work(slot);
    } finally {
      giveBack(slot);
    }
  };
}
