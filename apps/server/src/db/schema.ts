/** What survives a restart. One table for each noun. */
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

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
