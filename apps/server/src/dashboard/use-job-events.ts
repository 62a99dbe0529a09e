/** A job's events in a component, live. */
import { useEffect, useState } from "hono/jsx/dom";
import { api } from "./api.ts";
import type { JobEvent } from "./api-types.ts";
import { followEvents } from "./follow-events.ts";
import { hasEnded } from "./job-figures.ts";
import { apiKey } from "./session.ts";
import { useStore } from "./value-store.ts";

/** A fast job tells of many steps a second: the page is drawn this often at most. */
const DRAW_EVERY_MS = 150;

export interface JobEvents {
  readonly events: readonly JobEvent[];
  readonly isConnected: boolean;
  readonly error: unknown;
}

/** All events from the first on, in their order, each once. */
export function useJobEvents(id: string): JobEvents {
  const [state, setState] = useState<JobEvents>({ events: [], isConnected: false, error: undefined });
  const key = useStore(apiKey);
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    const known = new Map<string, JobEvent>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const update = (more: Partial<JobEvents>): void => {
      if (!signal.aborted) setState((before) => ({ ...before, ...more }));
    };
    const draw = (): void => {
      timer = undefined;
      update({ events: [...known.values()] });
    };
    const follow = async (): Promise<void> => {
      const source = {
        open: (lastId: string | undefined) => api.openJobEvents(id, lastId, signal),
        isOver: async () => hasEnded(await api.job(id, signal)),
        wait: (ms: number) => new Promise<void>((resume) => setTimeout(resume, ms)),
        onConnection: (isConnected: boolean) => update({ isConnected }),
        signal,
      };
      for await (const { data } of followEvents(source)) {
        if (data === "[DONE]") continue;
        const event = JSON.parse(data) as JobEvent;
        known.set(event.id, event);
        timer ??= setTimeout(draw, DRAW_EVERY_MS);
      }
    };
    update({ events: [], error: undefined });
    follow().catch((error: unknown) => update({ error }));
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [id, key]);
  return state;
}
