/** /v1/runs: what `graft eval`, `train` and `study` recorded in this server's database. */
import { Hono } from "hono";
import { z } from "zod";
import type { AppEnv } from "../app-env.ts";
import { describe, queryOf } from "../describe.ts";
import { runKinds, runStates } from "../db/index.ts";
import type { Services } from "../services.ts";
import { unixSeconds } from "../unix-seconds.ts";

const figureSchema = z.object({
  value: z.number().nullable(),
  stderr: z.number().nullable(),
  interval: z.tuple([z.number().nullable(), z.number().nullable()]).describe("95 %"),
  higher_is_better: z.boolean(),
});
const resultSchema = z.object({
  task: z.string(),
  scoring: z.string(),
  primary: z.string().describe("the metric that stands for the task"),
  figures: z.record(z.string(), figureSchema),
  count: z.int().describe("documents that were asked"),
  contamination: z.array(z.string()),
});
const runSchema = z.object({
  object: z.literal("run"),
  id: z.string(),
  kind: z.enum(runKinds),
  state: z.enum(runStates),
  system: z.string(),
  model: z.string(),
  adapter: z.string().nullable(),
  created_at: z.int(),
  finished_at: z.int().nullable(),
  error: z.string().nullable(),
  results: z.array(resultSchema),
});

const querySchema = z.object({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  kind: z.enum(runKinds).optional(),
  task: z.string().optional(),
});

type Run = Awaited<ReturnType<Services["store"]["runs"]>>[number];

export function runRoutes({ store }: Services) {
  return new Hono<AppEnv>()
    .get(
      "/v1/runs",
      describe({
        tag: "Evaluation",
        summary: "List runs, the newest first",
        response: z.object({ object: z.literal("list"), data: z.array(runSchema) }),
      }),
      queryOf(querySchema),
      async (c) => c.json({ object: "list" as const, data: (await store.runs(c.req.valid("query"))).map(runObject) }),
    )
    .get(
      "/v1/runs/:id",
      describe({
        tag: "Evaluation",
        summary: "A run, by its id or how it begins",
        response: runSchema,
        errors: [404],
      }),
      async (c) => c.json(runObject(await store.run(c.req.param("id")))),
    );
}

function runObject(run: Run): z.output<typeof runSchema> {
  const { id, kind, state, system, model, adapter, error } = run;
  return {
    object: "run",
    id,
    kind,
    state,
    system,
    model,
    adapter,
    created_at: unixSeconds(run.createdAt),
    finished_at: run.finishedAt && unixSeconds(run.finishedAt),
    error,
    results: run.results.map(({ task, scoring, primary, figures, count, contamination }) => ({
      task,
      scoring,
      primary,
      count,
      contamination: [...contamination],
      figures: Object.fromEntries(
        Object.entries(figures).map(([name, { value, stderr, interval, higherIsBetter }]) => [
          name,
          {
            value: finite(value),
            stderr: finite(stderr),
            interval: [finite(interval[0]), finite(interval[1])] as [number | null, number | null],
            higher_is_better: higherIsBetter,
          },
        ]),
      ),
    })),
  };
}

/** JSON has no NaN. */
function finite(x: number): number | null {
  return Number.isFinite(x) ? x : null;
}
