/** Server-sent events of an answer, and those of a job across lost connections. */
import { type EventSourceMessage, EventSourceParserStream } from "eventsource-parser/stream";
import { z } from "zod";
import type { Job, Remote } from "./client.ts";
import { RemoteError } from "./remote-error.ts";

/** What an answer's body says, as it arrives. Throws what reading it throws; stopping early cancels it. */
export async function* readEvents({ body }: Pick<Response, "body">): AsyncGenerator<EventSourceMessage> {
  if (!body) return;
  const bytes = body as ReadableStream<Uint8Array<ArrayBuffer>>;
  const reader = bytes.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    // Cancelling a stream that has failed fails in the same way: that error is on its way already.
    await reader.cancel().catch(() => undefined);
  }
}

const jobEventSchema = z.looseObject({
  id: z.string(),
  created_at: z.number(),
  level: z.enum(["info", "warn", "error"]),
  message: z.string(),
  type: z.enum(["message", "metrics"]),
  data: z
    .looseObject({
      step: z.number().optional(),
      total_steps: z.number().optional(),
      train_loss: z.number().nullish(),
      tokens_per_second: z.number().nullish(),
    })
    .nullable(),
});
export type JobEvent = z.output<typeof jobEventSchema>;

const eventPage = z.object({ data: z.array(jobEventSchema), has_more: z.boolean() });

/** A job's events so far, the oldest first. Throws RemoteError. */
export async function jobEvents({ api }: Remote, id: string): Promise<JobEvent[]> {
  const newestFirst: JobEvent[] = [];
  for (let after: string | undefined; ;) {
    const query = { limit: "1000", ...(after === undefined ? {} : { after }) };
    const answer = await api.v1.fine_tuning.jobs[":id"].events.$get({ param: { id: encodeURIComponent(id) }, query });
    const page = eventPage.parse(await answer.json());
    newestFirst.push(...page.data);
    if (!page.has_more) return newestFirst.toReversed();
    after = page.data.at(-1)!.id;
  }
}

/** Jobs in these states change no more. */
export const hasEnded = ({ status }: Pick<Job, "status">): boolean =>
  status === "succeeded" || status === "failed" || status === "cancelled";

export interface FollowOptions {
  /** Said when the connection is lost, before the first new try. */
  readonly onLost?: (error: unknown) => void;
  /** The wait before try 1, 2, ...; default: half a second, doubled each time up to 15 s. */
  readonly delayMs?: (attempt: number) => number;
  readonly signal: AbortSignal;
}

/**
 * Every event of a job once, from the first on, until it has ended; each new connection says the id of the last event. Throws RemoteError for an answer that
 * trying again does not change, and for a server that cannot be reached at the first try; the signal's reason once it is aborted.
 */
export async function* followJob({ api }: Remote, id: string, options: FollowOptions): AsyncGenerator<JobEvent> {
  const { signal, onLost, delayMs = backoffMs } = options;
  const path = { param: { id: encodeURIComponent(id) } };
  let lastId: string | undefined;
  let wasThere = false;
  for (let attempt = 0; ;) {
    let lost: unknown;
    try {
      const headers = { accept: "text/event-stream", ...(lastId === undefined ? {} : { "last-event-id": lastId }) };
      const query = { stream: "true" as const };
      const response = await openEvents(path, query, headers);
      wasThere = true;
      for await (const { id: eventId, data } of readEvents(response)) {
        if (data === "[DONE]") continue;
        lastId = eventId ?? lastId;
        attempt = 0;
        yield jobEventSchema.parse(JSON.parse(data));
      }
      if (hasEnded(await (await api.v1.fine_tuning.jobs[":id"].$get(path)).json())) return;
    } catch (error) {
      signal.throwIfAborted();
      if (!isPassing(error) || !wasThere) throw error;
      lost = error;
    }
    if (attempt === 0) onLost?.(lost);
    attempt++;
    await pause(delayMs(attempt), signal);
  }

  function openEvents(param: typeof path, query: { stream: "true" }, headers: Record<string, string>) {
    return api.v1.fine_tuning.jobs[":id"].events.$get({ ...param, query }, { headers });
  }
}

/** Does trying again help? What is no answer of a server is a connection that broke. */
function isPassing(error: unknown): boolean {
  if (error instanceof z.ZodError || error instanceof SyntaxError) return false;
  return !(error instanceof RemoteError) || error.status === undefined || error.status >= 500 || error.status === 429;
}

const backoffMs = (attempt: number): number => Math.min(15_000, 500 * 2 ** (attempt - 1));

/** Throws the signal's reason. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const stop = (): void => reject(signal.reason as Error);
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  });
}
