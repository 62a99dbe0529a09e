/** Streams against a server, all at once, each token timed as it arrives. */
import { Random } from "@graft/core/random";
import { createParser } from "eventsource-parser";
import type { Api } from "../remote/client.ts";
import { errorIn, RemoteError } from "../remote/remote-error.ts";
import type { Round, StreamTimes } from "./serve-figures.ts";

export interface Load {
  /** Of each stream the model that it asks. */
  readonly models: readonly string[];
  /** Of each stream its prompt. */
  readonly prompts: readonly (readonly number[])[];
  /** Each answer has exactly so many. */
  readonly maxTokens: number;
}

/** Starts all streams together and waits for their ends. Throws RemoteError, also for an answer of another length. */
export async function runRound(api: Api, { models, prompts, maxTokens }: Load, signal: AbortSignal): Promise<Round> {
  const begin = performance.now();
  const streams = await Promise.all(
    models.map((model, i) => timedStream(api, { model, prompt: [...prompts[i]!], maxTokens }, signal)),
  );
  return { seconds: (performance.now() - begin) / 1000, streams };
}

interface Chunk {
  readonly usage?: { readonly completion_tokens: number } | null;
}

async function timedStream(
  api: Api,
  { model, prompt, maxTokens }: { model: string; prompt: number[]; maxTokens: number },
  signal: AbortSignal,
): Promise<StreamTimes> {
  const sent = performance.now();
  const { body } = await api.v1.completions.$post(
    {
      json: {
        model,
        prompt,
        max_tokens: maxTokens,
        temperature: 0,
        // Every answer has its full length.
        ignore_eos: true,
        stream: true,
        // A token may be no text yet: the count says that it was made.
        stream_options: { include_usage: true, continuous_usage_stats: true },
      },
    },
    { init: { signal } },
  );
  let tokens = 0;
  let last = sent;
  let firstTokenMs: number | undefined;
  const gapsMs: number[] = [];
  let failure: RemoteError | undefined;
  const parser = createParser({
    onEvent({ data }) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data) as Chunk;
      if (!chunk.usage) failure ??= new RemoteError(errorIn(data)?.message ?? "a chunk of the stream has no usage");
      const made = (chunk.usage?.completion_tokens ?? 0) - tokens;
      if (made <= 0) return;
      const now = performance.now();
      if (firstTokenMs === undefined) firstTokenMs = now - sent;
      else for (let i = 0; i < made; i++) gapsMs.push((now - last) / made);
      tokens += made;
      last = now;
    },
  });
  const decoder = new TextDecoder();
  for await (const bytes of body as ReadableStream<Uint8Array>) parser.feed(decoder.decode(bytes, { stream: true }));
  if (failure) throw failure;
  if (tokens !== maxTokens || firstTokenMs === undefined)
    throw new RemoteError(`${model} answered with ${tokens} tokens where ${maxTokens} were asked for`);
  return { firstTokenMs, gapsMs, tokens };
}

/** Prompts of random tokens, no two alike: the prefix cache helps none. `words`: ids to draw from. */
export function randomPrompts(words: readonly number[], count: number, length: number, random: Random): number[][] {
  return Array.from({ length: count }, () => Array.from({ length }, () => words[random.int(words.length)]!));
}
