/** What the tables' columns may hold: the same for every database. */
import { z } from "zod";
import { exactNumber } from "./json.ts";

/** "running" goes back to "queued" when a server that was killed starts again. */
export const jobStates = ["queued", "running", "paused", "succeeded", "failed", "cancelled"] as const;
export type JobState = (typeof jobStates)[number];

export const eventLevels = ["info", "warn", "error"] as const;
export const eventTypes = ["message", "metrics"] as const;

export const scopes = ["infer", "train", "admin"] as const;
/** What a key may do; "admin" is everything. */
export type Scope = (typeof scopes)[number];

export const fileFormats = ["chat", "completion", "instruction"] as const;
export type FileFormat = (typeof fileFormats)[number];

export const runKinds = ["eval", "train", "study"] as const;
export type RunKind = (typeof runKinds)[number];
/** "stopped": by whoever started it. A run whose process was killed stays "running". */
export const runStates = ["running", "finished", "stopped", "failed"] as const;
export type RunState = (typeof runStates)[number];

/** Where an adapter's version came from. */
export const sourceSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("upload") }),
  z.object({ type: z.literal("path"), path: z.string() }),
  /** The step of a checkpoint; null: the job's result. */
  z.object({ type: z.literal("job"), job: z.string(), step: z.int().nullable() }),
  /** Adapters with their version numbers, and how they were put together. */
  z.object({
    type: z.literal("compose"),
    of: z.array(z.object({ adapter: z.string(), version: z.int(), weight: exactNumber })).readonly(),
    how: z.string(),
  }),
]);
export type VersionSource = z.output<typeof sourceSchema>;

/** Named values as they came: a request's body, a command's settings. NaN and the infinities come back as text. */
export const valuesSchema = z.record(z.string(), z.unknown());
export const metadataSchema = z.record(z.string(), z.string());
export const scopesSchema = z.array(z.enum(scopes)).readonly();
export const linesSchema = z.array(z.string()).readonly();

/** How far a job is. */
export const progressSchema = z.object({
  step: z.int(),
  totalSteps: z.int().nullable(),
  /** Nats, of the last step. */
  loss: exactNumber.nullable(),
  trainedTokens: z.int(),
  /** Unix seconds. */
  estimatedFinish: z.int().nullable(),
});
export type JobProgress = z.output<typeof progressSchema>;
export const noProgress: JobProgress = {
  step: 0,
  totalSteps: null,
  loss: null,
  trainedTokens: 0,
  estimatedFinish: null,
};

/** Why a job failed, as OpenAI says it. */
export const jobErrorSchema = z.object({ code: z.string(), message: z.string(), param: z.string().nullable() });
export type JobError = z.output<typeof jobErrorSchema>;

/** By name, such as step, train_loss and valid_loss. */
export const metricsSchema = z.record(z.string(), exactNumber.nullable());

/** By metric. */
export const figuresSchema = z.record(
  z.string(),
  z.object({
    value: exactNumber,
    stderr: exactNumber,
    /** 95 %. */
    interval: z.tuple([exactNumber, exactNumber]).readonly(),
    higherIsBetter: z.boolean(),
  }),
);
