/** A value that components follow. */
import { useSyncExternalStore } from "hono/jsx/dom";

export interface ValueStore<T> {
  get(): T;
  set(value: T): void;
  /** Returns how to stop. */
  subscribe(listener: () => void): () => void;
}

/** Listeners are called after each `set` of another value. */
export function createStore<T>(initial: T): ValueStore<T> {
  let value = initial;
  const listeners = new Set<() => void>();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of listeners) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The value now; the component is rendered again when it changes. */
export function useStore<T>(store: ValueStore<T>): T {
  return useSyncExternalStore(store.subscribe, store.get);
}
