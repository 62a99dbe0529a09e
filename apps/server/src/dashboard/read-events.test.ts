import { expect, test } from "bun:test";
import { readEvents } from "./read-events.ts";
import { ApiFailure } from "./api-failure.ts";
import { followEvents } from "./follow-events.ts";

const text = [
  ": a comment",
  'event: metrics\r\nid: 1\r\ndata: {"loss": 1.5}\r\n',
  "data: first line\ndata: second line: ü 漢 🌿\n",
  "id: 3\rdata:no space\r\r\n",
].join("\n");

function streamOf(chunks: readonly Uint8Array<ArrayBuffer>[], error?: Error): ReadableStream<Uint8Array<ArrayBuffer>> {
  const rest = [...chunks];
  return new ReadableStream({
    pull(controller) {
      const chunk = rest.shift();
      if (chunk) controller.enqueue(chunk);
      else if (error) controller.error(error);
      else controller.close();
    },
  });
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

test("events are the same wherever the bytes are cut, also inside a character and a line end", async () => {
  const bytes = new TextEncoder().encode(text);
  const whole = await all(readEvents(streamOf([bytes])));
  expect(whole.map(({ id, event, data }) => ({ id, event, data }))).toEqual([
    { id: "1", event: "metrics", data: '{"loss": 1.5}' },
    { id: undefined, event: undefined, data: "first line\nsecond line: ü 漢 🌿" },
    { id: "3", event: undefined, data: "no space" },
  ]);
  for (let cut = 1; cut < bytes.length; cut++)
    expect(await all(readEvents(streamOf([bytes.slice(0, cut), bytes.slice(cut)])))).toEqual(whole);
  const single = Array.from(bytes, (_, i) => bytes.slice(i, i + 1));
  expect(await all(readEvents(streamOf(single)))).toEqual(whole);
});

test("a reader that stops early cancels the body", async () => {
  let isCancelled = false;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("data: x\n\n")),
    cancel: () => {
      isCancelled = true;
    },
  });
  for await (const event of readEvents(body)) {
    expect(event.data).toBe("x");
    break;
  }
  expect(isCancelled).toBe(true);
});

test("a broken stream goes on after its last event, and waits longer each time nothing comes", async () => {
  const part = (...ids: number[]) => [new TextEncoder().encode(ids.map((n) => `id: ${n}\ndata: ${n}\n\n`).join(""))];
  const answers = [
    () => new Response(streamOf(part(1, 2), new Error("reset"))),
    () => Promise.reject(new ApiFailure(0, "no answer")),
    () => Promise.reject(new ApiFailure(503, "restarting")),
    () => new Response(streamOf(part(3))),
    () => new Response(streamOf(part(4))),
  ];
  const asked: (string | undefined)[] = [];
  const waits: number[] = [];
  const events = followEvents({
    open: async (lastId) => {
      asked.push(lastId);
      return answers[asked.length - 1]!();
    },
    isOver: async () => asked.length === answers.length,
    wait: async (ms) => void waits.push(ms),
    signal: new AbortController().signal,
  });
  expect((await all(events)).map(({ data }) => data)).toEqual(["1", "2", "3", "4"]);
  expect(asked).toEqual([undefined, "2", "2", "2", "3"]);
  expect(waits).toEqual([500, 1000, 2000, 500]);
});

test("an answer that stays the same ends it, and so does leaving", async () => {
  const controller = new AbortController();
  const source = (error: Error) => ({
    open: () => Promise.reject(error),
    isOver: async () => true,
    wait: async () => controller.abort(),
    signal: controller.signal,
  });
  expect(all(followEvents(source(new ApiFailure(404, "no such job"))))).rejects.toThrow("no such job");
  expect(await all(followEvents(source(new ApiFailure(0, "gone"))))).toEqual([]);
});
