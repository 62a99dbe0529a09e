/** An answer as it is made, from either of the two routes. */
import { z } from "zod";
import type { Api } from "./client.ts";
import { readEvents } from "./events.ts";
import { errorIn, RemoteError } from "./remote-error.ts";

export interface Message {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** Fields of a request that both routes take; the server's defaults where they are left out. */
type Shared = Parameters<Api["v1"]["completions"]["$post"]>[0]["json"];
export interface Ask extends Pick<
  Shared,
  "model" | "temperature" | "top_p" | "max_tokens" | "seed" | "ignore_eos" | "stop" | "logit_bias"
> {
  /** A conversation, for the model's chat template; or what is continued: a text, or token ids. */
  readonly about: readonly Message[] | { readonly prompt: string | readonly number[] };
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
}

export type Piece =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "end"; readonly reason: string; readonly usage: Usage };

const chunkSchema = z.object({
  choices: z.array(
    z.object({
      text: z.string().optional(),
      delta: z.object({ content: z.string().nullish() }).optional(),
      finish_reason: z.string().nullish(),
    }),
  ),
  usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).nullish(),
});

/** Texts as they come (each chunk of the stream one, also an empty one), then the end. Throws RemoteError, also for a stream that breaks off; the signal's reason once it is aborted. */
export async function* streamAnswer({ v1 }: Api, ask: Ask, signal: AbortSignal): AsyncGenerator<Piece> {
  const { about, ...sampling } = ask;
  const streaming = { stream: true, stream_options: { include_usage: true } };
  const options = { init: { signal } };
  const response =
    "prompt" in about
      ? await v1.completions.$post({ json: { ...sampling, ...streaming, prompt: plain(about.prompt) } }, options)
      : await v1.chat.completions.$post(
          { json: { ...sampling, ...streaming, messages: about.map((one) => ({ ...one })) } },
          options,
        );
  let reason: string | undefined;
  let usage: Usage | undefined;
  try {
    for await (const { data } of readEvents(response)) {
      // What had come already is no answer any more.
      signal.throwIfAborted();
      if (data === "[DONE]") break;
      const chunk = chunkOf(data);
      usage = chunk.usage ?? usage;
      for (const { text, delta, finish_reason: finish } of chunk.choices) {
        yield { type: "text", text: text ?? delta?.content ?? "" };
        reason = finish ?? reason;
      }
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof RemoteError) throw error;
    throw new RemoteError("the answer broke off: the connection is lost", { cause: error });
  }
  if (reason === undefined || usage === undefined)
    throw new RemoteError("the answer broke off: the stream ended before its end");
  yield { type: "end", reason, usage };
}

const plain = (prompt: string | readonly number[]): string | number[] =>
  typeof prompt === "string" ? prompt : [...prompt];

/** Throws RemoteError for an error object, which a stream may have in its middle. */
function chunkOf(data: string): z.output<typeof chunkSchema> {
  const refused = errorIn(data);
  if (refused) throw new RemoteError(refused.message, { code: refused.code });
  return chunkSchema.parse(JSON.parse(data));
}
