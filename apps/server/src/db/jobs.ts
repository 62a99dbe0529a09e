/** Fine-tuning jobs. States move only as the table in job-state.ts allows; what belongs to a move is in its transaction. */
import { and, asc, count, desc, eq, gt, inArray, lt } from "drizzle-orm";
import { UnknownName } from "@graft/core/errors";
import { insertVersion, type NewVersion, type VersionRow } from "./adapters.ts";
import type { Db, Driver, Tables } from "./driver.ts";
import { assertTransition, isFinal } from "./job-state.ts";
import { byTime, type OrderedPageOptions, type Page, type PageOptions, toPage } from "./page.ts";
import { type JobError, type JobProgress, type JobState, noProgress } from "./shapes.ts";

export type JobRow = Tables["jobs"]["$inferSelect"];
export type NewJob = Pick<
  JobRow,
  "id" | "request" | "model" | "trainingFile" | "validationFile" | "suffix" | "seed" | "metadata"
>;

/** An event with its id, which says the job and the number. */
export type EventRow = Tables["jobEvents"]["$inferSelect"] & { readonly id: string };
export type NewEvent = Pick<EventRow, "level" | "message"> & Partial<Pick<EventRow, "type" | "data">>;

export type CheckpointRow = Tables["jobCheckpoints"]["$inferSelect"] & { readonly id: string };
export type NewCheckpoint = Pick<CheckpointRow, "step" | "path" | "metrics">;

export interface JobFilter extends OrderedPageOptions {
  /** Any of these; all if nothing is said. */
  readonly states?: readonly JobState[] | undefined;
}

export interface JobStore {
  /** A job that is queued. */
  createJob(job: NewJob, at: Date, events?: readonly NewEvent[]): Promise<JobRow>;
  /** Throws UnknownName. */
  job(id: string): Promise<JobRow>;
  /** The newest first, if no order is given. Throws UnknownName for an `after` that is no job. */
  jobs(filter: JobFilter): Promise<Page<JobRow>>;
  /** How many there are in each state that has any. */
  countJobs(): Promise<Partial<Record<JobState, number>>>;
  /** Throws UnknownName, or ApiError 409 for a move that is not allowed; then nothing is changed and no event written. */
  moveJob(
    id: string,
    to: JobState,
    at: Date,
    details?: { readonly error?: JobError; readonly events?: readonly NewEvent[] },
  ): Promise<JobRow>;
  /** Throws UnknownName. */
  updateProgress(id: string, progress: JobProgress, at: Date): Promise<void>;
  /** In one transaction: the job has succeeded, what came of it is a version of an adapter and published, the last events are written. Throws as moveJob. */
  succeedJob(
    id: string,
    result: {
      readonly adapter: string;
      readonly version: NewVersion;
      readonly progress?: JobProgress;
      readonly events?: readonly NewEvent[];
    },
    at: Date,
  ): Promise<{ readonly job: JobRow; readonly version: VersionRow }>;
  /** For a start: jobs that ran when the server died go back to the queue. Returns them, the oldest first. */
  recoverJobs(at: Date): Promise<readonly JobRow[]>;
  /** Numbers them on from the job's last one; with the progress that they tell of, in one transaction. Throws UnknownName. */
  addEvents(id: string, events: readonly NewEvent[], at: Date, progress?: JobProgress): Promise<readonly EventRow[]>;
  /** The newest first; `after` is an event's id. Throws UnknownName for the job, or for an `after` that is no event of it. */
  jobEvents(id: string, page: PageOptions): Promise<Page<EventRow>>;
  /** Those with a higher number, the oldest first: to follow a job. Throws UnknownName. */
  jobEventsSince(id: string, number: number, limit: number): Promise<readonly EventRow[]>;
  /** What a job saved at a step; a job that was started again may save it again. Throws UnknownName. */
  addCheckpoint(id: string, checkpoint: NewCheckpoint, at: Date): Promise<CheckpointRow>;
  /** Nothing happens if there is none. */
  deleteCheckpoint(id: string, step: number): Promise<void>;
  /** The last steps first; `after` is a checkpoint's id. Throws UnknownName as jobEvents. */
  checkpoints(id: string, page: PageOptions): Promise<Page<CheckpointRow>>;
}

export function jobStore({ tables, query, snapshot, write }: Driver): JobStore {
  const { jobs, jobEvents, jobCheckpoints } = tables;

  const known = (rows: readonly JobRow[], id: string): JobRow => {
    const [row] = rows;
    if (!row) throw new UnknownName(`no job ${id}`);
    return row;
  };
  const select = async (db: Db, id: string): Promise<JobRow> =>
    known(await db.select().from(jobs).where(eq(jobs.id, id)), id);
  /** The job's row, which the transaction has alone until it ends. */
  const lock = async (tx: Db, id: string): Promise<JobRow> =>
    known(await tx.update(jobs).set({ id }).where(eq(jobs.id, id)).returning(), id);

  /** The row must be locked. */
  async function insertEvents(
    tx: Db,
    job: JobRow,
    events: readonly NewEvent[],
    at: Date,
  ): Promise<{ rows: EventRow[]; lastEvent: number }> {
    const lastEvent = job.lastEvent + events.length;
    if (events.length === 0) return { rows: [], lastEvent };
    const values = events.map(({ level, type = "message", message, data = null }, i) => ({
      job: job.id,
      number: job.lastEvent + 1 + i,
      level,
      type,
      // Postgres takes no zero byte; what a program said must be kept all the same.
      message: message.replaceAll("\0", "\uFFFD"),
      data,
      at,
    }));
    const rows = await tx.insert(jobEvents).values(values).returning();
    return { rows: rows.map(withEventId).toSorted((a, b) => a.number - b.number), lastEvent };
  }

  /** With everything that belongs to the move. */
  async function move(
    tx: Db,
    job: JobRow,
    to: JobState,
    at: Date,
    { events = [], ...changes }: { readonly events?: readonly NewEvent[] | undefined } & Partial<JobRow> = {},
  ): Promise<JobRow> {
    assertTransition(job.state, to);
    const { lastEvent } = await insertEvents(tx, job, events, at);
    const moved = {
      ...changes,
      state: to,
      lastEvent,
      updatedAt: at,
      startedAt: job.startedAt ?? (to === "running" ? at : null),
      finishedAt: isFinal(to) ? at : null,
    };
    return known(await tx.update(jobs).set(moved).where(eq(jobs.id, job.id)).returning(), job.id);
  }

  return {
    createJob: (job, at, events = []) =>
      write(async (tx) => {
        const [row] = await tx
          .insert(jobs)
          .values({
            ...job,
            state: "queued",
            progress: noProgress,
            lastEvent: events.length,
            createdAt: at,
            updatedAt: at,
          })
          .returning();
        await insertEvents(tx, { ...row!, lastEvent: 0 }, events, at);
        return row!;
      }),

    job: (id) => query((db) => select(db, id)),

    jobs: ({ limit, after, order, states }) =>
      snapshot(async (tx) => {
        const last = after === undefined ? undefined : await select(tx, after);
        const { orderBy, where } = byTime(
          { time: jobs.createdAt, name: jobs.id },
          order,
          last && { time: last.createdAt, name: last.id },
        );
        const isAsked = states === undefined ? undefined : inArray(jobs.state, [...states]);
        const rows = await tx
          .select()
          .from(jobs)
          .where(and(where, isAsked))
          .orderBy(...orderBy)
          .limit(limit + 1);
        return toPage(rows, limit);
      }),

    async countJobs() {
      const rows = await query((db) => db.select({ state: jobs.state, jobs: count() }).from(jobs).groupBy(jobs.state));
      return Object.fromEntries(rows.map((row) => [row.state, row.jobs]));
    },

    moveJob: (id, to, at, { error, events } = {}) =>
      write(async (tx) => move(tx, await lock(tx, id), to, at, { events, error: error ?? null })),

    async updateProgress(id, progress, at) {
      const rows = await query((db) =>
        db.update(jobs).set({ progress, updatedAt: at }).where(eq(jobs.id, id)).returning(),
      );
      known(rows, id);
    },

    succeedJob: (id, { adapter, version, progress, events }, at) =>
      write(async (tx) => {
        const job = await lock(tx, id);
        // Before anything else: what is not allowed makes no version.
        assertTransition(job.state, "succeeded");
        const published = await insertVersion(tx, tables, adapter, version, at, { publish: true });
        const moved = await move(tx, job, "succeeded", at, {
          events,
          adapter,
          adapterVersion: published.number,
          progress: progress ?? job.progress,
        });
        return { job: moved, version: published };
      }),

    recoverJobs: (at) =>
      write(async (tx) => {
        const running = await tx.update(jobs).set({ updatedAt: at }).where(eq(jobs.state, "running")).returning();
        const message = "The server was started again; the job goes on from its last checkpoint";
        const moved: JobRow[] = [];
        for (const job of running.toSorted((a, b) => a.createdAt.getTime() - b.createdAt.getTime()))
          moved.push(await move(tx, job, "queued", at, { events: [{ level: "warn", message }] }));
        return moved;
      }),

    addEvents: (id, events, at, progress) =>
      write(async (tx) => {
        const job = await lock(tx, id);
        const { rows, lastEvent } = await insertEvents(tx, job, events, at);
        const told = progress ? { lastEvent, progress, updatedAt: at } : { lastEvent };
        await tx.update(jobs).set(told).where(eq(jobs.id, id));
        return rows;
      }),

    jobEvents: (id, { limit, after }) =>
      snapshot(async (tx) => {
        const job = await select(tx, id);
        const before = after === undefined ? undefined : numberOfId("ftevent", job, after);
        if (before !== undefined && before > job.lastEvent) throw new UnknownName(`job ${id} has no event ${after}`);
        const rows = await tx
          .select()
          .from(jobEvents)
          .where(and(eq(jobEvents.job, id), before === undefined ? undefined : lt(jobEvents.number, before)))
          .orderBy(desc(jobEvents.number))
          .limit(limit + 1);
        return toPage(rows.map(withEventId), limit);
      }),

    jobEventsSince: (id, number, limit) =>
      snapshot(async (tx) => {
        await select(tx, id);
        const rows = await tx
          .select()
          .from(jobEvents)
          .where(and(eq(jobEvents.job, id), gt(jobEvents.number, number)))
          .orderBy(asc(jobEvents.number))
          .limit(limit);
        return rows.map(withEventId);
      }),

    addCheckpoint: (id, { step, path, metrics }, at) =>
      write(async (tx) => {
        await lock(tx, id);
        const [row] = await tx
          .insert(jobCheckpoints)
          .values({ job: id, step, path, metrics, at })
          .onConflictDoUpdate({ target: [jobCheckpoints.job, jobCheckpoints.step], set: { path, metrics, at } })
          .returning();
        return withCheckpointId(row!);
      }),

    async deleteCheckpoint(id, step) {
      await query((db) =>
        db.delete(jobCheckpoints).where(and(eq(jobCheckpoints.job, id), eq(jobCheckpoints.step, step))),
      );
    },

    checkpoints: (id, { limit, after }) =>
      snapshot(async (tx) => {
        const job = await select(tx, id);
        const before = after === undefined ? undefined : numberOfId("ftckpt", job, after);
        const rows = await tx
          .select()
          .from(jobCheckpoints)
          .where(and(eq(jobCheckpoints.job, id), before === undefined ? undefined : lt(jobCheckpoints.step, before)))
          .orderBy(desc(jobCheckpoints.step))
          .limit(limit + 1);
        return toPage(rows.map(withCheckpointId), limit);
      }),
  };
}

const idOf = (prefix: string, job: string, number: number): string =>
  `${prefix}-${job.replace(/^ftjob-/, "")}-${number}`;

const withEventId = (row: Tables["jobEvents"]["$inferSelect"]): EventRow => ({
  ...row,
  id: idOf("ftevent", row.job, row.number),
});

const withCheckpointId = (row: Tables["jobCheckpoints"]["$inferSelect"]): CheckpointRow => ({
  ...row,
  id: idOf("ftckpt", row.job, row.step),
});

/** What `idOf` put there. Throws UnknownName for another job's id, or none. */
function numberOfId(prefix: string, { id: job }: JobRow, id: string): number {
  const number = Number(/-(\d{1,15})$/.exec(id)?.[1] ?? -1);
  if (idOf(prefix, job, number) !== id || number < 0) throw new UnknownName(`job ${job} has no ${prefix} ${id}`);
  return number;
}
