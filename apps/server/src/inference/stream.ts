/** An answer as server-sent events, as OpenAI streams it. */
import type { Context, TypedResponse } from "hono";
import { streamSSE } from "hono/streaming";
import { errorBody } from "../errors.ts";
import type { ChoiceEvent, Run } from "./generation.ts";

export type Send = (chunk: object) => Promise<void>;

/**
 * Sends what `write` makes of the events, then [DONE]. What goes wrong before the first event is an HTTP error of its own, what goes wrong later an event of the stream that is
 * its last. Ends the run when the client goes.
 */
export async function streamRun(
  c: Context,
  run: Run,
  write: (events: AsyncIterable<ChoiceEvent>, send: Send) => Promise<void>,
): Promise<Response & TypedResponse<string, 200, "text">> {
  const first = await run.events.next();
  const response = streamSSE(c, async (stream) => {
    stream.onAbort(() => run.cancel());
    const send: Send = async (chunk) => stream.writeSSE({ data: JSON.stringify(chunk) });
    try {
      await write(resumed(first, run.events), send);
      await stream.writeSSE({ data: "[DONE]" });
    } catch (error) {
      await send(errorBody(error));
    } finally {
      run.cancel();
      await run.events.return(undefined);
    }
  });
  // A mark for types alone: hono's client must know that this is no JSON.
  return response as Response & TypedResponse<string, 200, "text">;
}

async function* resumed<T>(first: IteratorResult<T>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  if (!first.done) yield first.value;
  yield* rest;
}
