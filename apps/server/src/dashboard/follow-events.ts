/** A stream of events that is opened again where it broke off. */
import type { EventSourceMessage } from "eventsource-parser/stream";
import { ApiFailure } from "./api-failure.ts";
import { readEvents } from "./read-events.ts";

export interface Source {
  /** Throws ApiFailure. */
  open(lastId: string | undefined): Promise<Response>;
  /** A stream has ended: was that all? */
  isOver(): Promise<boolean>;
  wait(ms: number): Promise<void>;
  /** Called with true when events come, with false when the connection is lost. */
  onConnection?(isConnected: boolean): void;
  readonly signal: AbortSignal;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/**
 * Every event once, across lost connections: each new one says the id of the last event. Ends when the source is over or the signal aborts.
 * Throws the ApiFailure of an answer that trying again does not change (4xx but 429).
 */
export async function* followEvents(source: Source): AsyncGenerator<EventSourceMessage> {
  const { signal } = source;
  let lastId: string | undefined;
  for (let waitMs = FIRST_WAIT_MS; !signal.aborted; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
    try {
      const { body } = await source.open(lastId);
      source.onConnection?.(true);
      for await (const event of readEvents(body as ReadableStream<Uint8Array<ArrayBuffer>>)) {
        if (event.id !== undefined) lastId = event.id;
        waitMs = FIRST_WAIT_MS;
        yield event;
      }
      if (await source.isOver()) return;
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiFailure && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    }
    source.onConnection?.(false);
    await source.wait(waitMs);
  }
}
