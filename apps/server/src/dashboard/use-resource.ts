/** Data from the server in a component, asked for again and again while the page is seen. */
import { useCallback, useEffect, useRef, useState } from "hono/jsx/dom";
import { apiKey } from "./session.ts";
import { useStore } from "./value-store.ts";

export interface Resource<T> {
  /** The last answer; it stays while a later one fails. */
  readonly data: T | undefined;
  readonly error: unknown;
  reload(): void;
}

/**
 * Loads at the start, every `everyMs` after the last answer, on `reload`, when another API key is entered, and when `state` changes, which the answer
 * depends on. For another subject give the component another key.
 */
export function useResource<T>(
  load: (signal: AbortSignal) => Promise<T>,
  everyMs?: number,
  state?: string | number | null,
): Resource<T> {
  const [answer, setAnswer] = useState<{ data: T | undefined; error: unknown }>({ data: undefined, error: undefined });
  const [round, setRound] = useState(0);
  const key = useStore(apiKey);
  const latest = useRef(load);
  latest.current = load;
  useEffect(
    () =>
      repeatWhileSeen(everyMs, async (signal) => {
        try {
          const data = await latest.current!(signal);
          if (!signal.aborted) setAnswer({ data, error: undefined });
        } catch (error) {
          if (!signal.aborted) setAnswer(({ data }) => ({ data, error }));
        }
      }),
    [key, round, everyMs, state],
  );
  const reload = useCallback(() => setRound((n) => n + 1), []);
  return { ...answer, reload };
}

/** Runs `task` now and `everyMs` after its end, but not while the page is hidden; returns how to stop. */
export function repeatWhileSeen(everyMs: number | undefined, task: (signal: AbortSignal) => Promise<void>): () => void {
  const controller = new AbortController();
  const { signal } = controller;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isRunning = false;
  const run = async (): Promise<void> => {
    isRunning = true;
    await task(signal);
    isRunning = false;
    if (everyMs !== undefined && !signal.aborted && !document.hidden) timer = setTimeout(() => void run(), everyMs);
  };
  const onVisibility = (): void => {
    clearTimeout(timer);
    if (everyMs !== undefined && !document.hidden && !isRunning) void run();
  };
  document.addEventListener("visibilitychange", onVisibility, { signal });
  void run();
  return () => {
    clearTimeout(timer);
    controller.abort();
  };
}
