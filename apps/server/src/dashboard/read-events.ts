/** Server-sent events from the body of an answer: EventSource itself cannot send an Authorization header. */
import { type EventSourceMessage, EventSourceParserStream } from "eventsource-parser/stream";

/** Events as they arrive. Throws what reading the body throws; stopping early cancels it. */
export async function* readEvents(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<EventSourceMessage> {
  const reader = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Cancelling a stream that has failed fails in the same way: that error is on its way already.
    await reader.cancel().catch(() => undefined);
  }
}
