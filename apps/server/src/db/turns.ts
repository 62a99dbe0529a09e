/** Work that must not overlap. */

export type Turns = <T>(work: () => Promise<T>) => Promise<T>;

/** Returns a function that runs what it is given one after the other, in the order of the calls, whatever fails. */
export function createTurns(): Turns {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  };
}

export interface KeyedTurns {
  <T>(key: string, work: () => Promise<T>): Promise<T>;
  /** Does work of this key run or wait? */
  isTaken(key: string): boolean;
}

/** As createTurns, for each key on its own. Keys without work take no memory. */
export function createKeyedTurns(): KeyedTurns {
  const byKey = new Map<string, { readonly inTurn: Turns; users: number }>();
  const run = async <T>(key: string, work: () => Promise<T>): Promise<T> => {
    const entry = byKey.get(key) ?? { inTurn: createTurns(), users: 0 };
    byKey.set(key, entry);
    entry.users++;
    try {
      return await entry.inTurn(work);
    } finally {
      if (--entry.users === 0) byKey.delete(key);
    }
  };
  return Object.assign(run, { isTaken: (key: string) => byKey.has(key) });
}
