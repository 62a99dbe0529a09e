/** A job's events as they are written. */
import { type EventRow, isFinal } from "../db/index.ts";
import type { Services } from "../services.ts";

/** Events that are read at once. */
const PAGE = 500;

/** All events after the one with this number, then those that come, until the job has ended, the reader has left or the server stops. Throws UnknownName for an unknown job. */
export async function* jobEventStream(
  { store, jobs }: Pick<Services, "store" | "jobs">,
  id: string,
  after: number,
  left: AbortSignal,
): AsyncGenerator<EventRow> {
  const signal = AbortSignal.any([left, jobs.closing]);
  let news = Promise.withResolvers<void>();
  const wake = (): void => news.resolve();
  const unwatch = jobs.watch(id, wake);
  signal.addEventListener("abort", wake);
  try {
    let last = after;
    while (!signal.aborted) {
      news = Promise.withResolvers<void>();
      // Before the events: those of a job that has ended are all written.
      const { state } = await store.job(id);
      let events: readonly EventRow[];
      do {
        events = await store.jobEventsSince(id, last, PAGE);
        yield* events;
        last = events.at(-1)?.number ?? last;
      } while (events.length === PAGE && !signal.aborted);
      if (isFinal(state)) return;
      await news.promise;
    }
  } finally {
    unwatch();
    signal.removeEventListener("abort", wake);
  }
}
