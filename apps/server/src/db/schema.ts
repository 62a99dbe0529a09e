/** What survives a restart. One table for each noun. */
import { index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { z } from "zod";
import { exactNumber, json } from "./columns.ts";
import { packedItems } from "./items.ts";

/** Adapters that were loaded by name, to be loaded again at the next start. */
export const adapters = sqliteTable("adapters", {
  name: text("name").primaryKey(),
  path: text("path").notNull(),
  version: text("version").notNull(),
  method: text("method").notNull(),
  loadedAt: integer("loaded_at", { mode: "timestamp_ms" }).notNull(),
});

export const jobStates = ["queued", "running", "succeeded", "failed", "cancelled"] as const;
export type JobState = (typeof jobStates)[number];

/** Fine-tuning jobs. */
export const jobs = sqliteTable(
  "jobs",
  {
    id: text("id").primaryKey(),
    state: text("state", { enum: jobStates }).notNull(),
    /** The request as it came, JSON. */
    request: text("request").notNull(),
    error: text("error"),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
    updatedAt: integer("updated_at", { mode: "timestamp_ms" }).notNull(),
  },
  (table) => [index("jobs_state").on(table.state)],
);

export const runKinds = ["eval", "train", "study"] as const;
export type RunKind = (typeof runKinds)[number];
/** "stopped": by whoever started it. A run whose process was killed stays "running". */
export const runStates = ["running", "finished", "stopped", "failed"] as const;
export type RunState = (typeof runStates)[number];

/** A command's settings by name. */
export const settingsSchema = z.record(z.string(), z.unknown());

/** Commands that measured something: one model, with one adapter or none. */
export const runs = sqliteTable(
  "runs",
  {
    /** When it began, in UTC, and something random: 20250131-235959-k3x9q. */
    id: text("id").primaryKey(),
    kind: text("kind", { enum: runKinds }).notNull(),
    state: text("state", { enum: runStates }).notNull(),
    error: text("error"),
    createdAt: integer("created_at", { mode: "timestamp_ms" }).notNull(),
    finishedAt: integer("finished_at", { mode: "timestamp_ms" }),
    /** What reports call it. */
    system: text("system").notNull(),
    /** Folder, hub name, or the name that a server has for it. */
    model: text("model").notNull(),
    adapter: text("adapter"),
    /** Everything that is needed to run it again. */
    settings: json(settingsSchema, "runs.settings")("settings").notNull(),
    /** Where it was started: relative paths of the settings begin here. */
    folder: text("folder").notNull(),
    output: text("output"),
    seed: integer("seed").notNull(),
    /** SHA-256 of what the numbers depend on; null where there is none, or it cannot be seen: a server's model. */
    modelHash: text("model_hash"),
    adapterHash: text("adapter_hash"),
    /** Over the texts of all kernels that ran. */
    kernelHash: text("kernel_hash"),
    device: text("device"),
    driver: text("driver"),
    version: text("version").notNull(),
    commit: text("commit"),
  },
  (table) => [index("runs_created_at").on(table.createdAt), index("runs_model").on(table.model)],
);

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

export const decodingSchema = z.record(z.string(), z.unknown());

/** What a run says of a task. */
export const results = sqliteTable(
  "results",
  {
    runId: text("run_id")
      .notNull()
      .references(() => runs.id, { onDelete: "cascade" }),
    task: text("task").notNull(),
    /** Of the task. Results of different versions are not compared. */
    version: integer("version").notNull(),
    scoring: text("scoring").notNull(),
    /** By metric. */
    figures: json(figuresSchema, "results.figures")("figures").notNull(),
    /** The metric that stands for the task. */
    primary: text("primary_metric").notNull(),
    /** Docs that were asked, and docs of the file. */
    count: integer("count").notNull(),
    total: integer("total").notNull(),
    /** Docs whose prompt lost its beginning. */
    cut: integer("cut").notNull(),
    datasetPath: text("dataset_path").notNull(),
    datasetSha256: text("dataset_sha256").notNull(),
    /** Over all prompts: two results with the same hash were asked the same. */
    promptsHash: text("prompts_hash").notNull(),
    /** Over all answers as the model gave them. */
    answersHash: text("answers_hash").notNull(),
    template: text("template"),
    templateHash: text("template_hash"),
    /** What was changed of the task's own decoding. */
    decoding: json(decodingSchema, "results.decoding")("decoding").notNull(),
    /** Lines about training data that touches this score. */
    contamination: json(z.array(z.string()).readonly(), "results.contamination")("contamination").notNull(),
    seconds: real("seconds").notNull(),
    items: packedItems("items").notNull(),
  },
  (table) => [primaryKey({ columns: [table.runId, table.task] }), index("results_task").on(table.task)],
);
