/** Running choices: several engine requests of one HTTP request, gathered or streamed in the order events come. */
import type { EngineEvent, EngineRequest, TokenLogprob } from "@graft/core/engine";
import { ConfigError, suggest } from "@graft/core/errors";
import type { Context } from "hono";
import type { UnofficialStatusCode } from "hono/utils/http-status";
import type { AppEnv } from "../app-env.ts";
import { ApiError } from "../errors.ts";
import type { Services } from "../services.ts";
import { createUsageCounter, type Usage } from "./usage.ts";

/** Choices that one HTTP request may have computed, best_of's included. */
export const MAX_CHOICES = 2048;

/** Names longer than this are no typing mistakes. */
const LONGEST_SUGGESTED = 200;

/** For descriptions of routes. */
export const TIMEOUT_NOTE =
  "The header `x-request-timeout-ms` gives the request a deadline, in milliseconds from its arrival: what is not done by then is stopped and fails with 504.";

/** The adapter a model name stands for; undefined is the base. Throws ApiError 404. */
export function adapterOf({ engine, settings }: Services, model: string): string | undefined {
  if (model === settings.modelName) return undefined;
  if (engine.adapter(model)) return model;
  throw unknownModel({ engine, settings }, model);
}

/** A 404 as OpenAI has it, with near names. */
export function unknownModel({ engine, settings }: Pick<Services, "engine" | "settings">, model: string): ApiError {
  const names = [settings.modelName, ...engine.adapters().map(({ name }) => name)];
  const near = model.length > LONGEST_SUGGESTED ? "" : suggest(model, names);
  return new ApiError(404, `The model \`${model.slice(0, LONGEST_SUGGESTED)}\` does not exist${near}`, {
    type: "NotFoundError",
    code: "model_not_found",
    param: "model",
  });
}

/** Tokens that a request may have in all, prompt and completion: what the base holds without the adapter's virtual tokens. */
export function contextLength({ engine }: Pick<Services, "engine">, adapter: string | undefined): number {
  const virtual = adapter === undefined ? 0 : (engine.adapter(adapter)?.virtualTokens ?? 0);
  return engine.info.maxLength - virtual;
}

/** Fails before anything is sent if the prompt, which came in the field `param`, does not fit. Throws ApiError 400. */
export function assertFits(
  services: Services,
  adapter: string | undefined,
  promptIds: readonly number[],
  maxNewTokens: number,
  param: "prompt" | "messages",
): void {
  const maxLength = contextLength(services, adapter);
  const { vocabSize } = services.engine.info;
  if (promptIds.length === 0) throw new ApiError(400, `${param}: must not be empty`, { param });
  const total = promptIds.length + maxNewTokens;
  if (total > maxLength) {
    throw new ApiError(
      400,
      `This model's maximum context length is ${maxLength} tokens. However, you requested ${total} tokens (${promptIds.length} in the ${param}, ${maxNewTokens} in the completion).`,
      { code: "context_length_exceeded", param },
    );
  }
  const bad = promptIds.find((id) => id >= vocabSize);
  if (bad !== undefined)
    throw new ApiError(400, `${param}: token id ${bad} is outside the vocabulary of ${vocabSize}`, { param });
}

/** What the header x-request-timeout-ms says. Throws ApiError 400. */
export function deadlineOf(c: Context): Pick<EngineRequest, "deadlineMs"> {
  const name = "x-request-timeout-ms";
  const given = c.req.header(name);
  if (given === undefined) return {};
  if (!/^[1-9]\d{0,8}$/.test(given.trim()))
    throw new ApiError(400, `${name}: must be a whole number of milliseconds, got "${given.slice(0, 40)}"`, {
      param: name,
    });
  return { deadlineMs: Number(given) };
}

export interface ChoiceEvent {
  readonly index: number;
  readonly event: EngineEvent;
}

/** The choices of one HTTP request, under way. */
export interface Run {
  readonly requests: readonly EngineRequest[];
  /** Events of all choices as they come. Ends them all when it is returned early; fails as soon as one of them fails. */
  readonly events: AsyncGenerator<ChoiceEvent>;
  /** So far. */
  usage(): Usage;
  /** Ends all choices at once, also while an event is waited for. */
  cancel(): void;
}

/**
 * Nothing runs before the first event is asked for. The client's leaving ends everything. Tokens count for its key once there has been an event.
 * `constraintField`: what the requests' constraint came in.
 */
export function runChoices(
  c: Context<AppEnv>,
  services: Services,
  requests: readonly EngineRequest[],
  constraintField?: string,
): Run {
  const controller = new AbortController();
  const counter = createUsageCounter(requests);
  const signal = AbortSignal.any([c.req.raw.signal, controller.signal]);
  async function* events(): AsyncGenerator<ChoiceEvent> {
    let hasBegun = false;
    try {
      for await (const event of merge(services, requests, signal, constraintField)) {
        hasBegun = true;
        counter.count(event);
        yield event;
      }
    } finally {
      if (hasBegun) await c.var.spendTokens(counter.usage().total_tokens);
    }
  }
  return { requests, events: events(), usage: () => counter.usage(), cancel: () => controller.abort() };
}

export interface ChoiceResult {
  text: string;
  ids: number[];
  finishReason: "stop" | "length";
  /** Of the tokens; an end token has its own below. */
  logprobs: TokenLogprob[];
  endLogprob: TokenLogprob | undefined;
  promptLogprobs: readonly (TokenLogprob | null)[];
}

/** Everything of every choice, in the order of the requests. */
export async function gather(run: Run): Promise<ChoiceResult[]> {
  const results = run.requests.map((): ChoiceResult => ({
    text: "",
    ids: [],
    finishReason: "stop",
    logprobs: [],
    endLogprob: undefined,
    promptLogprobs: [],
  }));
  for await (const { index, event } of run.events) {
    const result = results[index]!;
    if (event.type === "prompt") {
      result.promptLogprobs = event.logprobs;
      continue;
    }
    result.text += event.text;
    if (event.type === "token") {
      result.ids.push(event.id);
      if (event.logprob) result.logprobs.push(event.logprob);
    } else {
      result.endLogprob = event.logprob;
      result.finishReason = finishReasonOf(event);
    }
  }
  return results;
}

/** Aborted choices fail (merge): they do not end. */
export function finishReasonOf({ reason }: EngineEvent & { type: "finish" }): "stop" | "length" {
  return reason === "length" ? "length" : "stop";
}

async function* merge(
  services: Services,
  requests: readonly EngineRequest[],
  signal: AbortSignal,
  constraintField: string | undefined,
): AsyncGenerator<ChoiceEvent> {
  const rest = new AbortController();
  const ended = AbortSignal.any([signal, rest.signal]);
  let queue: ChoiceEvent[] = [];
  let open = requests.length;
  let failure: { readonly error: unknown } | undefined;
  let wake = (): void => undefined;
  const pump = async (request: EngineRequest, index: number): Promise<void> => {
    try {
      for await (const event of generate(services, request, ended, constraintField)) {
        queue.push({ index, event });
        wake();
      }
    } catch (error) {
      failure ??= { error };
      rest.abort();
    }
    open--;
    wake();
  };
  const pumps = requests.map(pump);
  try {
    for (;;) {
      const ready = queue;
      queue = [];
      yield* ready;
      if (queue.length > 0) continue;
      if (open === 0) break;
      await new Promise<void>((resolve) => (wake = resolve));
    }
    if (failure) throw failure.error;
  } finally {
    rest.abort();
    await Promise.all(pumps);
  }
}

/** The engine's events. Being cut off is an error here, and a constraint that cannot be kept names the field it came in. */
async function* generate(
  services: Services,
  request: EngineRequest,
  signal: AbortSignal,
  field: string | undefined,
): AsyncGenerator<EngineEvent> {
  try {
    for await (const event of services.generate(request, signal)) {
      if (event.type === "finish" && event.reason === "abort") throw cutOff(signal);
      yield event;
    }
  } catch (error) {
    if (field === undefined || !(error instanceof ConfigError)) throw error;
    throw new ApiError(400, `${field}: ${error.message}`, { param: field });
  }
}

function cutOff(signal: AbortSignal): ApiError {
  // Nobody reads this one; it is what logs and figures say.
  if (signal.aborted) return new ApiError(499 as UnofficialStatusCode, "the client has gone", { code: "aborted" });
  return new ApiError(503, "the request was cut off: the server is stopping", {
    code: "aborted",
    retryAfterSeconds: 1,
  });
}
