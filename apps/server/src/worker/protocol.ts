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
import type { TrainRunEvent, TrainRunOptions } from "@graft/adapters/train";
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
  /** Pages of the key-value cache; default: what the device holds beside the base. */
  readonly pages?: number;
  /** Tokens of waiting requests at the most; more are refused with 503. */
  readonly maxWaitingTokens?: number;
  /** Bytes of adapters in memory and on the device. */
  readonly hostAdapterBytes?: number;
  readonly deviceAdapterBytes?: number;
  /** Mean time between tokens that training keeps to. */
  readonly decodeLatencyTargetMs?: number;
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
  pages: number.exactOptional(),
  maxWaitingTokens: number.exactOptional(),
  hostAdapterBytes: number.exactOptional(),
  deviceAdapterBytes: number.exactOptional(),
  decodeLatencyTargetMs: number.exactOptional(),
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
  frequencyPenalty: number.exactOptional(),
  presencePenalty: number.exactOptional(),
  logitBias: z.record(z.string(), number).exactOptional(),
  deadlineMs: number.exactOptional(),
  constraint: z
    .discriminatedUnion("type", [
      z.strictObject({ type: z.literal("json_object") }),
      z.strictObject({ type: z.literal("json_schema"), schema: z.unknown() }),
    ])
    .exactOptional(),
} satisfies Record<keyof EngineRequest, z.ZodType>);

const adapterInfo: z.ZodType<AdapterInfo> = z.strictObject({
  name: z.string(),
  version: z.string(),
  path: z.string(),
  method: z.string(),
  parameters: number,
  bytes: number,
  virtualTokens: number,
  isPinned: z.boolean(),
  tier: z.enum(["disk", "host", "device"]),
});

// The server makes them of what it has checked itself.
const trainOptions = z.custom<TrainRunOptions>((value) => typeof value === "object" && value !== null);
const trainEvent = z.custom<TrainRunEvent>((value) => typeof value === "object" && value !== null && "type" in value);

const toWorker = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("start"), options: engineOptions }),
  z.strictObject({ type: z.literal("generate"), id, request: engineRequest }),
  z.strictObject({ type: z.literal("cancel"), id }),
  z.strictObject({ type: z.literal("load"), id, name: z.string(), path: z.string() }),
  z.strictObject({ type: z.literal("unload"), id, name: z.string() }),
  z.strictObject({ type: z.literal("register"), id, adapters: z.array(adapterInfo) }),
  z.strictObject({ type: z.literal("pin"), id, name: z.string(), isPinned: z.boolean() }),
  z.strictObject({ type: z.literal("adapters"), id }),
  z.strictObject({ type: z.literal("versions"), id }),
  z.strictObject({ type: z.literal("stats"), id }),
  /** Also ended by "cancel": it then saves a checkpoint first. */
  z.strictObject({ type: z.literal("train"), id, options: trainOptions }),
  /** End all requests, free everything, then say "closed". */
  z.strictObject({ type: z.literal("close") }),
]);

const wireError = z.strictObject({
  name: z.enum(errorNames),
  message: z.string(),
  retryAfterSeconds: number.exactOptional(),
});

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
    cachedTokens: number,
    logprob: tokenLogprob.exactOptional(),
  }),
]);

const engineInfo: z.ZodType<EngineInfo> = z.strictObject({
  modelPath: z.string(),
  modelType: z.string(),
  vocabSize: number,
  maxLength: number,
  eosTokenIds: numbers,
  device: z.string(),
  weightsBytes: number,
  kvBytes: number,
});

const engineStats: z.ZodType<EngineStats> = z.strictObject({
  running: number,
  waiting: number,
  waitingTokens: number,
  kvPagesUsed: number,
  kvPagesCached: number,
  kvPagesTotal: number,
  adapters: number,
  adaptersOnDevice: number,
  adapterBytesOnDevice: number,
  adapterBytesOnHost: number,
  generatedTokens: number,
  promptTokens: number,
  cachedPromptTokens: number,
  preemptions: number,
  trainingTurns: number,
  trainingSteps: number,
  trainingTokens: number,
  byAdapter: z.record(z.string(), z.strictObject({ running: number, waiting: number, generatedTokens: number })),
  deviceBytes: number,
});

/** What a request gave since the last message about it; with `error`, or a finish event, it is over. */
const output = z.strictObject({ id, events: z.array(engineEvent), error: wireError.exactOptional() });

const reply = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("loaded"), id, adapter: adapterInfo }),
  z.strictObject({ type: z.literal("unloaded"), id }),
  z.strictObject({ type: z.literal("registered"), id }),
  z.strictObject({ type: z.literal("pinned"), id, adapter: adapterInfo }),
  z.strictObject({ type: z.literal("adapters"), id, adapters: z.array(adapterInfo) }),
  z.strictObject({ type: z.literal("versions"), id, versions: z.array(z.string()) }),
  z.strictObject({ type: z.literal("stats"), id, stats: engineStats }),
  z.strictObject({ type: z.literal("refused"), id, error: wireError }),
]);

const fromWorker = z.discriminatedUnion("type", [
  /** The process listens: what was sent before is lost. */
  z.strictObject({ type: z.literal("listening") }),
  z.strictObject({ type: z.literal("ready"), info: engineInfo }),
  /** Everything one pass gave, in one message. */
  z.strictObject({ type: z.literal("outputs"), outputs: z.array(output) }),
  /** What a training run told; with `error`, or an end event, it is over. */
  z.strictObject({ type: z.literal("training"), id, events: z.array(trainEvent), error: wireError.exactOptional() }),
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
