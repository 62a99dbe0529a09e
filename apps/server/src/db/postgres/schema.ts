/** What survives a restart, in Postgres. One table for each noun; the text is the same as in the other database's folder but for this line. */
import {
  eventLevels,
  eventTypes,
  figuresSchema,
  fileFormats,
  jobErrorSchema,
  jobStates,
  linesSchema,
  metadataSchema,
  metricsSchema,
  progressSchema,
  runKinds,
  runStates,
  scopesSchema,
  sourceSchema,
  valuesSchema,
} from "../shapes.ts";
import { flag, index, json, packedItems, primaryKey, real, table, text, time, whole } from "./columns.ts";

/** Names that point at versions. */
export const adapters = table(
  "adapters",
  {
    name: text("name").primaryKey(),
    /** Number of the version that requests get; null: none is published. */
    currentVersion: whole("current_version"),
    /** The highest number that was ever given: numbers are not given twice. */
    lastVersion: whole("last_version").notNull(),
    isPinned: flag("is_pinned").notNull(),
    createdAt: time("created_at").notNull(),
  },
  (t) => [index("adapters_created_at").on(t.createdAt)],
);

/** Adapter files that never change. */
export const adapterVersions = table(
  "adapter_versions",
  {
    adapter: text("adapter")
      .notNull()
      .references(() => adapters.name, { onDelete: "cascade" }),
    number: whole("number").notNull(),
    /** Of the files. */
    hash: text("hash").notNull(),
    /** A folder that is not ours; null: the data directory has the files under the hash. */
    path: text("path"),
    source: json(sourceSchema, "adapter_versions.source")("source").notNull(),
    method: text("method").notNull(),
    /** Trained numbers. */
    parameters: whole("parameters").notNull(),
    bytes: whole("bytes").notNull(),
    virtualTokens: whole("virtual_tokens").notNull(),
    createdAt: time("created_at").notNull(),
    /** When it last became the current one. */
    publishedAt: time("published_at"),
  },
  (t) => [primaryKey({ columns: [t.adapter, t.number] }), index("adapter_versions_hash").on(t.hash)],
);

/** Which versions were current, one after the other; the last one is. A rollback takes the last one away. */
export const adapterPublications = table(
  "adapter_publications",
  {
    adapter: text("adapter")
      .notNull()
      .references(() => adapters.name, { onDelete: "cascade" }),
    position: whole("position").notNull(),
    number: whole("number").notNull(),
    at: time("at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.adapter, t.position] })],
);

/** Training data that was uploaded; the bytes are in the data directory. */
export const files = table(
  "files",
  {
    id: text("id").primaryKey(),
    filename: text("filename").notNull(),
    purpose: text("purpose").notNull(),
    format: text("format", { enum: fileFormats }).notNull(),
    rows: whole("rows").notNull(),
    bytes: whole("bytes").notNull(),
    sha256: text("sha256").notNull(),
    createdAt: time("created_at").notNull(),
  },
  (t) => [index("files_created_at").on(t.createdAt), index("files_sha256").on(t.sha256)],
);

/** Fine-tuning jobs. */
export const jobs = table(
  "jobs",
  {
    id: text("id").primaryKey(),
    state: text("state", { enum: jobStates }).notNull(),
    /** The body as it came. */
    request: json(valuesSchema, "jobs.request")("request").notNull(),
    /** The base. */
    model: text("model").notNull(),
    /** Ids of files; those may be gone. */
    trainingFile: text("training_file").notNull(),
    validationFile: text("validation_file"),
    suffix: text("suffix"),
    seed: whole("seed").notNull(),
    metadata: json(metadataSchema, "jobs.metadata")("metadata").notNull(),
    progress: json(progressSchema, "jobs.progress")("progress").notNull(),
    error: json(jobErrorSchema, "jobs.error")("error"),
    /** The adapter and its version that came of it. */
    adapter: text("adapter"),
    adapterVersion: whole("adapter_version"),
    /** Number of the last event. */
    lastEvent: whole("last_event").notNull(),
    createdAt: time("created_at").notNull(),
    updatedAt: time("updated_at").notNull(),
    startedAt: time("started_at"),
    finishedAt: time("finished_at"),
  },
  (t) => [index("jobs_state").on(t.state), index("jobs_created_at").on(t.createdAt)],
);

/** What happened to a job: 1, 2, 3, ... without a gap. */
export const jobEvents = table(
  "job_events",
  {
    job: text("job")
      .notNull()
      .references(() => jobs.id, { onDelete: "cascade" }),
    number: whole("number").notNull(),
    level: text("level", { enum: eventLevels }).notNull(),
    type: text("type", { enum: eventTypes }).notNull(),
    message: text("message").notNull(),
    data: json(metricsSchema, "job_events.data")("data"),
    at: time("at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.job, t.number] })],
);

/** Adapters that a job saved on its way. */
export const jobCheckpoints = table(
  "job_checkpoints",
  {
    job: text("job")
      .notNull()
      .references(() => jobs.id, { onDelete: "cascade" }),
    step: whole("step").notNull(),
    /** Folder of the adapter. */
    path: text("path").notNull(),
    metrics: json(metricsSchema, "job_checkpoints.metrics")("metrics").notNull(),
    at: time("at").notNull(),
  },
  (t) => [primaryKey({ columns: [t.job, t.step] })],
);

/** Who may do what. The keys themselves are not kept. */
export const apiKeys = table("api_keys", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  /** SHA-256 of the key. */
  hash: text("hash").notNull().unique(),
  /** How the key begins. */
  prefix: text("prefix").notNull(),
  scopes: json(scopesSchema, "api_keys.scopes")("scopes").notNull(),
  requestsPerMinute: whole("requests_per_minute"),
  tokensPerMinute: whole("tokens_per_minute"),
  createdAt: time("created_at").notNull(),
  /** To the minute. */
  lastUsedAt: time("last_used_at"),
  revokedAt: time("revoked_at"),
});

/** Commands that measured something: one model, with one adapter or none. */
export const runs = table(
  "runs",
  {
    /** When it began, in UTC, and something random: 20250131-235959-k3x9q. */
    id: text("id").primaryKey(),
    /** Grows from run to run: orders those of the same millisecond. */
    ordinal: whole("ordinal").notNull().default(0),
    kind: text("kind", { enum: runKinds }).notNull(),
    state: text("state", { enum: runStates }).notNull(),
    error: text("error"),
    createdAt: time("created_at").notNull(),
    finishedAt: time("finished_at"),
    /** What reports call it. */
    system: text("system").notNull(),
    /** Folder, hub name, or the name that a server has for it. */
    model: text("model").notNull(),
    adapter: text("adapter"),
    /** Everything that is needed to run it again. */
    settings: json(valuesSchema, "runs.settings")("settings").notNull(),
    /** Where it was started: relative paths of the settings begin here. */
    folder: text("folder").notNull(),
    output: text("output"),
    seed: whole("seed").notNull(),
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
  (t) => [
    index("runs_created_at").on(t.createdAt),
    index("runs_model").on(t.model),
    index("runs_ordinal").on(t.ordinal),
  ],
);

/** What a run says of a task. */
export const results = table(
  "results",
  {
    runId: text("run_id")
      .notNull()
      .references(() => runs.id, { onDelete: "cascade" }),
    task: text("task").notNull(),
    /** Of the run's results, in the order in which they came. */
    position: whole("position").notNull().default(0),
    /** Of the task. Results of different versions are not compared. */
    version: whole("version").notNull(),
    scoring: text("scoring").notNull(),
    figures: json(figuresSchema, "results.figures")("figures").notNull(),
    /** The metric that stands for the task. */
    primary: text("primary_metric").notNull(),
    /** Docs that were asked, and docs of the file. */
    count: whole("count").notNull(),
    total: whole("total").notNull(),
    /** Docs whose prompt lost its beginning. */
    cut: whole("cut").notNull(),
    datasetPath: text("dataset_path").notNull(),
    datasetSha256: text("dataset_sha256").notNull(),
    /** Over all prompts: two results with the same hash were asked the same. */
    promptsHash: text("prompts_hash").notNull(),
    /** Over all answers as the model gave them. */
    answersHash: text("answers_hash").notNull(),
    template: text("template"),
    templateHash: text("template_hash"),
    /** What was changed of the task's own decoding. */
    decoding: json(valuesSchema, "results.decoding")("decoding").notNull(),
    /** Lines about training data that touches this score. */
    contamination: json(linesSchema, "results.contamination")("contamination").notNull(),
    seconds: real("seconds").notNull(),
    items: packedItems("items").notNull(),
  },
  (t) => [primaryKey({ columns: [t.runId, t.task] }), index("results_task").on(t.task)],
);
