/**
 * What the server and the engine's process say to each other: plain data, parsed strictly where it comes in, so that a message that is not one of these ends
 * the process that sent it. Types are checked here; values are the engine's to judge.
 */
import type {
  AdapterInfo,
  EngineEvent,
  EngineInfo,
  EngineRequest,
  EngineStats,
  TokenLogprob,
} from "@graft/core/engine";
import type { Quantization, WeightDType } from "@graft/core/models";
import type { TuningOptions } from "@graft/kernels";
import { z } from "zod";
import { errorNames } from "./wire-error.ts";

/** What an engine is opened with. */
export interface EngineOptions {
  /** Folder of the base. */
  readonly model: string;
  readonly dtype: WeightDType;
  readonly quantization?: Quantization | "none";
  readonly maxSequences?: number;
  readonly tuning?: TuningOptions & { readonly cacheDir: string };
}

// Also NaN and the infinities, which z.number() refuses: a damaged adapter's log-probability is not a damaged message.
const number = z.custom<number>((value) => typeof value === "number", "expected a number");
const numbers = z.array(number);
/** Numbers a request or a call, and what is said about it. */
const id = z.int().min(0);

const engineOptions: z.ZodType<EngineOptions> = z.strictObject({
  model: z.string(),
  dtype: z.enum(["auto", "f32", "f16", "bf16"]),
  quantization: z
    .union([z.literal("none"), z.strictObject({ method: z.enum(["int8", "nf4"]), skipModules: z.array(z.string()) })])
    .exactOptional(),
  maxSequences: number.exactOptional(),
  tuning: z.strictObject({ cacheDir: z.string(), skipSoftware: z.boolean().exactOptional() }).exactOptional(),
});

const engineRequest: z.ZodType<EngineRequest> = z.strictObject({
  requestId: z.string(),
  promptIds: numbers,
  maxNewTokens: number,
  adapter: z.string().exactOptional(),
  logprobs: number.exactOptional(),
  promptLogprobs: z.boolean().exactOptional(),
  temperature: number.exactOptional(),
  topK: number.exactOptional(),
  topP: number.exactOptional(),
  minP: number.exactOptional(),
  typicalP: number.exactOptional(),
  repetitionPenalty: number.exactOptional(),
  noRepeatNgramSize: number.exactOptional(),
  numBeams: number.exactOptional(),
  lengthPenalty: number.exactOptional(),
  earlyStopping: z.boolean().exactOptional(),
  numReturnSequences: number.exactOptional(),
  seed: number.exactOptional(),
  stop: z.array(z.string()).exactOptional(),
  eosTokenIds: numbers.exactOptional(),
} satisfies Record<keyof EngineRequest, z.ZodType>);

const toWorker = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("start"), options: engineOptions }),
  z.strictObject({ type: z.literal("generate"), id, request: engineRequest }),
  z.strictObject({ type: z.literal("cancel"), id }),
  z.strictObject({ type: z.literal("load"), id, name: z.string(), path: z.string() }),
  z.strictObject({ type: z.literal("unload"), id, name: z.string() }),
  z.strictObject({ type: z.literal("stats"), id }),
  /** End all requests, free everything, then say "closed". */
  z.strictObject({ type: z.literal("close") }),
]);

const wireError = z.strictObject({ name: z.enum(errorNames), message: z.string() });

const tokenLogprob: z.ZodType<TokenLogprob> = z.strictObject({
  id: number,
  logprob: number,
  top: z.array(z.strictObject({ id: number, logprob: number })),
});

const engineEvent: z.ZodType<EngineEvent> = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("prompt"), logprobs: z.array(tokenLogprob.nullable()) }),
  z.strictObject({ type: z.literal("token"), id: number, text: z.string(), logprob: tokenLogprob.exactOptional() }),
  z.strictObject({
    type: z.literal("finish"),
    reason: z.enum(["stop", "length", "abort"]),
    text: z.string(),
    adapterVersion: z.string().exactOptional(),
  }),
]);

const engineInfo: z.ZodType<EngineInfo> = z.strictObject({
  modelPath: z.string(),
  modelType: z.string(),
  vocabSize: number,
  maxLength: number,
  eosTokenIds: numbers,
  device: z.string(),
});

const engineStats: z.ZodType<EngineStats> = z.strictObject({
  running: number,
  waiting: number,
  kvPagesUsed: number,
  kvPagesTotal: number,
  adapters: number,
  generatedTokens: number,
  promptTokens: number,
});

const adapterInfo: z.ZodType<AdapterInfo> = z.strictObject({
  name: z.string(),
  version: z.string(),
  path: z.string(),
  method: z.string(),
  parameters: number,
  bytes: number,
  virtualTokens: number,
});

/** What a request gave since the last message about it; with `error`, or a finish event, it is over. */
const output = z.strictObject({ id, events: z.array(engineEvent), error: wireError.exactOptional() });

const reply = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("loaded"), id, adapter: adapterInfo }),
  z.strictObject({ type: z.literal("unloaded"), id }),
  z.strictObject({ type: z.literal("stats"), id, stats: engineStats }),
  z.strictObject({ type: z.literal("refused"), id, error: wireError }),
]);

const fromWorker = z.discriminatedUnion("type", [
  /** The process listens: what was sent before is lost. */
  z.strictObject({ type: z.literal("listening") }),
  z.strictObject({ type: z.literal("ready"), info: engineInfo }),
  /** Everything one pass gave, in one message. */
  z.strictObject({ type: z.literal("outputs"), outputs: z.array(output) }),
  reply,
  z.strictObject({ type: z.literal("closed") }),
  /** The engine could not be opened, or cannot go on: the process is of no more use. */
  z.strictObject({ type: z.literal("failed"), error: wireError }),
]);

export type ToWorker = z.output<typeof toWorker>;
export type FromWorker = z.output<typeof fromWorker>;
export type Output = z.output<typeof output>;
export type Reply = z.output<typeof reply>;

/** Throws an Error that names the field. */
export function parseToWorker(message: unknown): ToWorker {
  return parse(toWorker, message, "to the engine's process");
}

/** Throws an Error that names the field. */
export function parseFromWorker(message: unknown): FromWorker {
  return parse(fromWorker, message, "from the engine's process");
}

function parse<T extends z.ZodType>(schema: T, message: unknown, direction: string): z.output<T> {
  const result = schema.safeParse(message);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new Error(`message ${direction}: ${issue.path.join(".") || "whole"}: ${issue.message}`);
}
