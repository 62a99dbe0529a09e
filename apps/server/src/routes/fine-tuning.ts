/** /v1/fine_tuning/jobs: OpenAI's fine-tuning API, on the base that is being served. */
import { hyperparametersSchema, jobAdapterSchema, resolveJob } from "@graft/adapters/train";
import { ConfigError, UnknownName } from "@graft/core/errors";
import { Hono } from "hono";
import { streamSSE } from "hono/streaming";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { type CheckpointRow, type EventRow, type JobRow, jobStates } from "../db/index.ts";
import { describe, jsonBody, queryOf } from "../describe.ts";
import { ApiError } from "../errors.ts";
import { jobEventStream } from "../jobs/event-stream.ts";
import { checkpointName, type KeptJobRequest, keptRequest, resultName } from "../jobs/job-request.ts";
import { page, pageOf, pageQuery } from "../page.ts";
import type { Services } from "../services.ts";
import { unixSeconds } from "../unix-seconds.ts";

const methodSchema = z.object({
  type: z.literal("supervised", "is the only method there is"),
  supervised: z
    .object({ hyperparameters: hyperparametersSchema.optional(), adapter: jobAdapterSchema.optional() })
    .optional(),
});
const metadataSchema = z.record(z.string().max(64), z.string().max(512));
const createSchema = z.looseObject({
  model: z.string().describe("the base, or an adapter whose values training begins with"),
  training_file: z.string(),
  validation_file: z.string().nullish(),
  suffix: z
    .string()
    .max(64)
    .regex(/^[\w.-]*$/, "may have letters, digits, _, . and -")
    .nullish(),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .nullish(),
  method: methodSchema.nullish(),
  hyperparameters: hyperparametersSchema.nullish().describe("the older place of method.supervised.hyperparameters"),
  metadata: metadataSchema.nullish(),
});

const values = z.record(z.string(), z.unknown());
const jobSchema = z.object({
  object: z.literal("fine_tuning.job"),
  id: z.string(),
  model: z.string(),
  created_at: z.int(),
  finished_at: z.int().nullable(),
  fine_tuned_model: z.string().nullable(),
  organization_id: z.literal("graft"),
  result_files: z.array(z.string()),
  status: z.enum(jobStates),
  training_file: z.string(),
  validation_file: z.string().nullable(),
  hyperparameters: values,
  method: z.object({
    type: z.literal("supervised"),
    supervised: z.object({ hyperparameters: values, adapter: values }),
  }),
  trained_tokens: z.int().nullable(),
  error: z.object({ code: z.string(), message: z.string(), param: z.string().nullable() }).nullable(),
  seed: z.int(),
  estimated_finish: z.int().nullable(),
  integrations: z.array(z.never()),
  user_provided_suffix: z.string().nullable(),
  metadata: metadataSchema.nullable(),
  graft: z.object({
    method: z.string(),
    step: z.int(),
    total_steps: z.int().nullable(),
    loss: z.number().nullable(),
    trainable_parameters: z.int(),
    adapter_version: z.int().nullable(),
  }),
});

export const jobEventSchema = z.object({
  object: z.literal("fine_tuning.job.event"),
  id: z.string(),
  created_at: z.int(),
  level: z.enum(["info", "warn", "error"]),
  message: z.string(),
  type: z.enum(["message", "metrics"]),
  data: z.record(z.string(), z.unknown()).nullable(),
});

const checkpointSchema = z.object({
  object: z.literal("fine_tuning.job.checkpoint"),
  id: z.string(),
  created_at: z.int(),
  fine_tuned_model_checkpoint: z.string().describe("a model name: it can be asked at once"),
  fine_tuning_job_id: z.string(),
  metrics: z.record(z.string(), z.number().nullable()),
  step_number: z.int(),
});

const JOB = "/v1/fine_tuning/jobs/:id";

export function fineTuningRoutes(services: Services) {
  const { store, jobs, base, engine, settings, newId, now } = services;
  const tag = "Fine-tuning" as const;
  return new Hono<AppEnv>()
    .post(
      "/v1/fine_tuning/jobs",
      describe({
        tag,
        summary: "Train an adapter",
        description:
          "It trains on the served base between the passes of requests, and is published under `fine_tuned_model` the moment it is done. Everything is checked here; what is stored and shown has every default settled.",
        response: jobSchema,
        errors: [404],
      }),
      jsonBody(createSchema),
      async (c) => {
        const body = c.req.valid("json");
        const fromAdapter = body.model === settings.modelName ? undefined : engine.adapter(body.model);
        if (body.model !== settings.modelName && !fromAdapter)
          throw new ApiError(404, `The model \`${body.model}\` does not exist`, {
            code: "model_not_found",
            param: "model",
          });
        const training = await fileOf(services, body.training_file, "training_file");
        const validation = body.validation_file
          ? await fileOf(services, body.validation_file, "validation_file")
          : undefined;
        if (validation && validation.format !== training.format)
          throw new ApiError(
            400,
            `validation_file: is of the ${validation.format} format, training_file of the ${training.format} format`,
            { param: "validation_file" },
          );
        if (training.format === "chat" && services.tokenizer.chatTemplate === undefined)
          throw new ApiError(400, "training_file: holds chats, and the base has no chat template", {
            param: "training_file",
          });
        const supervised = body.method?.supervised;
        const hyperparameters = supervised?.hyperparameters ?? body.hyperparameters ?? undefined;
        const seed = body.seed ?? undefined;
        const spec = settled(() =>
          resolveJob(
            {
              ...(hyperparameters ? { hyperparameters } : {}),
              ...(supervised?.adapter ? { adapter: supervised.adapter } : {}),
              ...(seed === undefined ? {} : { seed }),
            },
            { data: training, base, modelPath: engine.info.modelPath },
          ),
        );
        const row = await store.createJob(
          {
            id: newId("ftjob"),
            model: body.model,
            trainingFile: training.id,
            validationFile: validation?.id ?? null,
            suffix: body.suffix ?? null,
            seed: spec.seed,
            request: { spec, from_adapter: fromAdapter?.path ?? null } satisfies KeptJobRequest,
            metadata: body.metadata ?? {},
          },
          now(),
          [{ level: "info", message: `Created fine-tuning job: ${spec.total_steps} steps of ${spec.method}` }],
        );
        jobs.wake();
        return c.json(jobObject(row));
      },
    )
    .get(
      "/v1/fine_tuning/jobs",
      describe({ tag, summary: "List jobs, the newest first", response: pageOf(jobSchema) }),
      queryOf(pageQuery.extend({ limit: pageQuery.shape.limit.default(20) })),
      async (c) => {
        const rows = await store.jobs(c.req.valid("query"));
        return c.json(page(rows.data.map(jobObject), rows.hasMore));
      },
    )
    .get(JOB, describe({ tag, summary: "A job", response: jobSchema, errors: [404] }), async (c) =>
      c.json(jobObject(await store.job(c.req.param("id")))),
    )
    .post(
      `${JOB}/cancel`,
      describe({ tag, summary: "End a job", response: jobSchema, errors: [404, 409] }),
      async (c) => c.json(jobObject(await jobs.cancel(c.req.param("id")))),
    )
    .post(
      `${JOB}/pause`,
      describe({
        tag,
        summary: "Save a checkpoint and wait",
        response: jobSchema,
        errors: [404, 409],
      }),
      async (c) => c.json(jobObject(await jobs.pause(c.req.param("id")))),
    )
    .post(
      `${JOB}/resume`,
      describe({
        tag,
        summary: "Go on with a paused job",
        description: "From its last checkpoint, to the same numbers as if it had never been paused.",
        response: jobSchema,
        errors: [404, 409],
      }),
      async (c) => c.json(jobObject(await jobs.resume(c.req.param("id")))),
    )
    .get(
      `${JOB}/events`,
      describe({
        tag,
        summary: "What happened, the newest first; or live",
        description:
          "With `stream=true` or `Accept: text/event-stream`: server-sent events from the first on, or after `Last-Event-ID`, until the job has ended.",
        response: { "application/json": pageOf(jobEventSchema), "text/event-stream": jobEventSchema },
        errors: [404],
      }),
      queryOf(
        pageQuery.extend({
          limit: pageQuery.shape.limit.default(20),
          stream: z.enum(["true", "false"]).default("false"),
        }),
      ),
      async (c) => {
        const { limit, after, stream } = c.req.valid("query");
        const id = c.req.param("id");
        const isLive = stream === "true" || (c.req.header("accept") ?? "").includes("text/event-stream");
        await store.job(id);
        if (!isLive) {
          const rows = await store.jobEvents(id, { limit, after });
          return c.json(page(rows.data.map(eventObject), rows.hasMore));
        }
        const from = numberOf(c.req.header("last-event-id") ?? after);
        return streamSSE(c, async (sse) => {
          const left = new AbortController();
          sse.onAbort(() => left.abort());
          for await (const row of jobEventStream(services, id, from, left.signal)) {
            const event = eventObject(row);
            await sse.writeSSE({ id: event.id, event: "fine_tuning.job.event", data: JSON.stringify(event) });
          }
          if (!left.signal.aborted && !jobs.closing.aborted) await sse.writeSSE({ data: "[DONE]" });
        });
      },
    )
    .get(
      `${JOB}/checkpoints`,
      describe({
        tag,
        summary: "Checkpoints, the newest first",
        response: pageOf(checkpointSchema),
        errors: [404],
      }),
      queryOf(pageQuery.extend({ limit: pageQuery.shape.limit.default(10) })),
      async (c) => {
        const id = c.req.param("id");
        const job = await store.job(id);
        const rows = await store.checkpoints(id, c.req.valid("query"));
        return c.json(
          page(
            rows.data.map((row) => checkpointObject(row, resultName(settings.modelName, job))),
            rows.hasMore,
          ),
        );
      },
    );
}

/** An event's number, with which its id ends. */
const numberOf = (eventId: string | undefined): number => Number(/-(\d{1,15})$/.exec(eventId ?? "")?.[1] ?? 0);

async function fileOf({ store }: Services, id: string, param: string) {
  try {
    return await store.file(id);
  } catch (error) {
    if (!(error instanceof UnknownName)) throw error;
    throw new ApiError(400, `${param}: there is no file ${id}`, { param, code: "invalid_file" });
  }
}

/** What a job cannot be made of is a 400 that names the field: messages begin with it. */
function settled<T>(resolve: () => T): T {
  try {
    return resolve();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ApiError(400, error.message, { param: /^[\w.]+(?=: )/.exec(error.message)?.[0] ?? "method" });
  }
}

function jobObject(row: JobRow): z.output<typeof jobSchema> {
  const { progress } = row;
  const { spec } = keptRequest(row);
  return {
    object: "fine_tuning.job",
    id: row.id,
    model: row.model,
    created_at: unixSeconds(row.createdAt),
    finished_at: row.finishedAt && unixSeconds(row.finishedAt),
    fine_tuned_model: row.state === "succeeded" ? row.adapter : null,
    organization_id: "graft",
    result_files: [],
    status: row.state,
    training_file: row.trainingFile,
    validation_file: row.validationFile,
    hyperparameters: spec.hyperparameters,
    method: {
      type: "supervised",
      supervised: { hyperparameters: spec.hyperparameters, adapter: { name: spec.method, ...spec.adapter } },
    },
    trained_tokens: progress.step > 0 ? progress.trainedTokens : null,
    error: row.error,
    seed: row.seed,
    estimated_finish: row.state === "running" ? progress.estimatedFinish : null,
    integrations: [],
    user_provided_suffix: row.suffix,
    metadata: row.metadata,
    graft: {
      method: spec.method,
      step: progress.step,
      total_steps: progress.totalSteps ?? spec.total_steps,
      loss: progress.loss,
      trainable_parameters: spec.trainable_parameters,
      adapter_version: row.adapterVersion,
    },
  };
}

function eventObject(row: EventRow): z.output<typeof jobEventSchema> {
  return {
    object: "fine_tuning.job.event",
    id: row.id,
    created_at: unixSeconds(row.at),
    level: row.level,
    message: row.message,
    type: row.type,
    data: row.data,
  };
}

function checkpointObject(row: CheckpointRow, result: string): z.output<typeof checkpointSchema> {
  return {
    object: "fine_tuning.job.checkpoint",
    id: row.id,
    created_at: unixSeconds(row.at),
    fine_tuned_model_checkpoint: checkpointName(result, row.step),
    fine_tuning_job_id: row.job,
    metrics: row.metrics,
    step_number: row.step,
  };
}
