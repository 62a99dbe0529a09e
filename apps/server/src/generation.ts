/** Running choices: several engine requests of one HTTP request, gathered or streamed in the order events come. */
import type { Engine, EngineEvent, EngineRequest, TokenLogprob } from "@graft/core/engine";
import { suggest } from "@graft/core/errors";
import { ApiError } from "./errors.ts";
import type { Services } from "./services.ts";

/** The adapter a model name stands for; undefined is the base. Throws ApiError 404. */
export function adapterOf(services: Services, model: string): string | undefined {
  if (model === services.modelName) return undefined;
  const names = services.engine.adapters().map((adapter) => adapter.name);
  if (names.includes(model)) return model;
  throw new ApiError(404, `The model \`${model}\` does not exist${suggest(model, [services.modelName, ...names])}`, {
    type: "NotFoundError",
    code: "model_not_found",
    param: "model",
  });
}

export interface ChoiceResult {
  text: string;
  ids: number[];
  finishReason: "stop" | "length";
  logprobs: TokenLogprob[];
  promptLogprobs: readonly (TokenLogprob | null)[] | undefined;
}

/** Everything of one choice. Throws what the engine throws; an abort becomes ApiError 499. */
export async function gather(services: Services, request: EngineRequest, signal: AbortSignal): Promise<ChoiceResult> {
  const result: ChoiceResult = { text: "", ids: [], finishReason: "stop", logprobs: [], promptLogprobs: undefined };
  for await (const event of services.engine.generate(request, signal)) {
    switch (event.type) {
      case "prompt":
        result.promptLogprobs = event.logprobs;
        break;
      case "token":
        result.text += event.text;
        result.ids.push(event.id);
        if (event.logprob) result.logprobs.push(event.logprob);
        break;
      case "finish":
        result.text += event.text;
        if (event.reason === "abort")
          throw new ApiError(503, "the request was cut off: the server is stopping", { code: "aborted" });
        result.finishReason = event.reason;
        break;
      default:
        event satisfies never;
    }
  }
  return result;
}

export interface ChoiceEvent {
  readonly index: number;
  readonly event: EngineEvent;
}

/**
 * Events of several choices as they come, each with the number of its choice. Resolves with the first one there: what goes wrong before it is an HTTP error of its own, what goes
 * wrong later an event of the stream.
 */
export async function begin(
  engine: Engine,
  requests: readonly EngineRequest[],
  signal: AbortSignal,
): Promise<AsyncGenerator<ChoiceEvent>> {
  const events = merge(engine, requests, signal);
  const first = await events.next();
  return (async function* () {
    try {
      if (!first.done) yield first.value;
      yield* events;
    } finally {
      await events.return(undefined);
    }
  })();
}

async function* merge(
  engine: Engine,
  requests: readonly EngineRequest[],
  signal: AbortSignal,
): AsyncGenerator<ChoiceEvent> {
  const streams = requests.map((request) => engine.generate(request, signal)[Symbol.asyncIterator]());
  const next = (index: number) => {
    const event = streams[index]!.next().then((result) => ({ index, result }));
    // It may fail while nobody waits: who asks for the next event finds out.
    event.catch(() => undefined);
    return event;
  };
  const pending = new Map(streams.map((_, index) => [index, next(index)]));
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(index);
        continue;
      }
      pending.set(index, next(index));
      yield { index, event: result.value };
    }
  } finally {
    await Promise.allSettled(streams.map(async (stream) => stream.return?.(undefined)));
  }
}

/** Tokens that a request may have in all, prompt and completion: what the base holds without the adapter's virtual tokens. */
export function contextLength(services: Services, adapter: string | undefined): number {
  const info = services.engine.adapters().find(({ name }) => name === adapter);
  return services.engine.info.maxLength - (info?.virtualTokens ?? 0);
}

/** Fails before anything is sent if the model or the prompt does not fit. */
export function assertFits(
  services: Services,
  adapter: string | undefined,
  promptIds: readonly number[],
  maxNewTokens: number,
): void {
  const maxLength = contextLength(services, adapter);
  if (promptIds.length === 0) throw new ApiError(400, "prompt: must not be empty", { param: "prompt" });
  if (promptIds.length + maxNewTokens > maxLength) {
    throw new ApiError(
      400,
      `This model's maximum context length is ${maxLength} tokens. However, you requested ${promptIds.length + maxNewTokens} tokens (${promptIds.length} in the prompt, ${maxNewTokens} in the completion).`,
      { code: "context_length_exceeded", param: "prompt" },
    );
  }
  const bad = promptIds.find((id) => id >= services.engine.info.vocabSize || id < 0);
  if (bad !== undefined)
    throw new ApiError(400, `prompt: token id ${bad} is outside the vocabulary of ${services.engine.info.vocabSize}`, {
      param: "prompt",
    });
}
