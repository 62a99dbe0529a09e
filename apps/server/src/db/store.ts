/** The database: bun:sqlite through drizzle. Every acknowledged write is on disk. */
import { Database, SQLiteError } from "bun:sqlite";
import { and, asc, desc, eq, inArray, sql } from "drizzle-orm";
import { type BunSQLiteDatabase, drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { dirname, join } from "node:path";
import { DataError, suggest, UnknownName } from "@graft/core/errors";
import { makeFolder } from "@graft/core/io";
import { assertTransition } from "./job-state.ts";
import { newRunId } from "./run-id.ts";
import { adapters, jobs, type JobState, results, type RunKind, runs } from "./schema.ts";

/** What the file is called in a data folder. */
export const databaseName = "graft.sqlite";

export type AdapterRow = typeof adapters.$inferSelect;
export type JobRow = typeof jobs.$inferSelect;
export type RunRow = typeof runs.$inferSelect;
export type ResultRow = typeof results.$inferSelect;

/** What is known of a run when it begins. */
export type NewRun = Omit<RunRow, "id" | "state" | "error" | "createdAt" | "finishedAt">;
export type NewResult = Omit<ResultRow, "runId">;

/** A result without its items, for lists. */
export type ResultSummary = Pick<ResultRow, "task" | "scoring" | "primary" | "figures" | "count" | "contamination">;

export interface ListedRun extends RunRow {
  readonly results: readonly ResultSummary[];
}

/** A run with its results in the order in which they came. */
export interface RunDetails extends RunRow {
  readonly results: readonly ResultRow[];
}

export interface RunFilter {
  /** The newest ones. */
  readonly limit: number;
  readonly kind?: RunKind | undefined;
  /** As the run was given it. */
  readonly model?: string | undefined;
  /** Only runs with a result of this task. */
  readonly task?: string | undefined;
}

// Takes the lock before it reads: a writer in another process cannot come between, and waiting for it is possible.
const writing = { behavior: "immediate" } as const;

export class Store {
  #sqlite: Database;
  #db: BunSQLiteDatabase;

  /**
   * Opens or makes the file and brings it to the newest schema; several processes may have it open. ":memory:" keeps nothing.
   * Throws DataError for a file that is no database.
   */
  constructor(path: string) {
    if (path !== ":memory:") makeFolder(dirname(path));
    try {
      this.#sqlite = new Database(path, { create: true });
      this.#db = drizzle(this.#sqlite);
      // First: what follows may have to wait for another process already.
      this.#sqlite.run("PRAGMA busy_timeout = 5000");
      // Readers do not wait for the writer; a commit is on disk before it is acknowledged.
      this.#sqlite.run("PRAGMA journal_mode = WAL");
      this.#sqlite.run("PRAGMA synchronous = FULL");
      this.#sqlite.run("PRAGMA foreign_keys = ON");
      migrateTogether(this.#db);
    } catch (cause) {
      throw cause instanceof SQLiteError ? databaseError(path, cause) : cause;
    }
  }

  adapters(): AdapterRow[] {
    return this.#db.select().from(adapters).orderBy(asc(adapters.loadedAt)).all();
  }

  putAdapter(row: AdapterRow): void {
    const { name: _, ...changed } = row;
    this.#db.insert(adapters).values(row).onConflictDoUpdate({ target: adapters.name, set: changed }).run();
  }

  deleteAdapter(name: string): void {
    this.#db.delete(adapters).where(eq(adapters.name, name)).run();
  }

  jobs(): JobRow[] {
    return this.#db.select().from(jobs).orderBy(asc(jobs.createdAt)).all();
  }

  createJob(row: Pick<JobRow, "id" | "request">, at: Date): void {
    this.#db
      .insert(jobs)
      .values({ ...row, state: "queued", error: null, createdAt: at, updatedAt: at })
      .run();
  }

  /** Throws UnknownName, or ApiError 409 for a move that is not allowed. */
  moveJob(id: string, to: JobState, at: Date, error: string | null = null): void {
    this.#db.transaction((tx) => {
      const [job] = tx.select().from(jobs).where(eq(jobs.id, id)).all();
      if (!job) throw new UnknownName(`no job ${id}`);
      assertTransition(job.state, to);
      tx.update(jobs).set({ state: to, error, updatedAt: at }).where(eq(jobs.id, id)).run();
    }, writing);
  }

  /** A run that begins. Returns its id. */
  createRun(run: NewRun, at: Date): string {
    const id = newRunId(at);
    this.#db
      .insert(runs)
      .values({ ...run, id, state: "running", createdAt: at })
      .run();
    return id;
  }

  /** What a run says of a task; what it said of it before is replaced. Throws UnknownName, DataError for a run that has ended. */
  addResult(runId: string, result: NewResult): void {
    this.#db.transaction((tx) => {
      assertRunning(tx, runId);
      tx.insert(results)
        .values({ ...result, runId })
        .onConflictDoUpdate({ target: [results.runId, results.task], set: result })
        .run();
    }, writing);
  }

  /** Kernel texts are known when all have run. Throws UnknownName, DataError for a run that has ended. */
  finishRun(id: string, { kernelHash }: Pick<RunRow, "kernelHash">, at: Date): void {
    this.#endRun(id, { state: "finished", kernelHash, finishedAt: at });
  }

  /** For a run that did not come to its end; its results stay. Throws UnknownName, DataError for a run that has ended. */
  failRun(id: string, { state, error }: { state: "stopped" | "failed"; error: string }, at: Date): void {
    this.#endRun(id, { state, error, finishedAt: at });
  }

  #endRun(id: string, end: Partial<RunRow>): void {
    this.#db.transaction((tx) => {
      assertRunning(tx, id);
      tx.update(runs).set(end).where(eq(runs.id, id)).run();
    }, writing);
  }

  /** The newest runs first. */
  runs({ limit, kind, model, task }: RunFilter): ListedRun[] {
    return this.#db.transaction((tx) => {
      const rows = tx
        .select()
        .from(runs)
        .where(
          and(
            kind === undefined ? undefined : eq(runs.kind, kind),
            model === undefined ? undefined : eq(runs.model, model),
            task === undefined
              ? undefined
              : inArray(runs.id, tx.select({ id: results.runId }).from(results).where(eq(results.task, task))),
          ),
        )
        .orderBy(desc(runs.createdAt), desc(sql`rowid`))
        .limit(limit)
        .all();
      const { runId, task: name, scoring, primary, figures, count, contamination } = results;
      return rows.map((run) => ({
        ...run,
        results: tx
          .select({ task: name, scoring, primary, figures, count, contamination })
          .from(results)
          .where(eq(runId, run.id))
          .orderBy(sql`rowid`)
          .all(),
      }));
    });
  }

  /** The run with this id, or the only one whose id begins so. Throws UnknownName with near ids, or with those that begin so if there are several. */
  run(idOrPrefix: string): RunDetails {
    return this.#db.transaction((tx) => {
      const id = onlyId(tx, idOrPrefix);
      const [run] = tx.select().from(runs).where(eq(runs.id, id)).all();
      return {
        ...run!,
        results: tx
          .select()
          .from(results)
          .where(eq(results.runId, id))
          .orderBy(sql`rowid`)
          .all(),
      };
    });
  }

  close(): void {
    this.#sqlite.close();
  }
}

type Transaction = Parameters<Parameters<BunSQLiteDatabase["transaction"]>[0]>[0];

function assertRunning(tx: Transaction, id: string): void {
  const [run] = tx.select({ state: runs.state }).from(runs).where(eq(runs.id, id)).all();
  if (!run) throw new UnknownName(`no run ${id}`);
  if (run.state !== "running") throw new DataError(`run ${id} is ${run.state}: nothing can be added to it`);
}

function onlyId(tx: Transaction, idOrPrefix: string): string {
  const begins = sql`substr(${runs.id}, 1, length(${idOrPrefix})) = ${idOrPrefix}`;
  const ids = tx.select({ id: runs.id }).from(runs).where(begins).orderBy(desc(runs.id)).all();
  const [first] = ids;
  if (idOrPrefix !== "" && first && (ids.length === 1 || ids.some(({ id }) => id === idOrPrefix)))
    return ids.length === 1 ? first.id : idOrPrefix;
  if (idOrPrefix !== "" && first)
    throw new UnknownName(
      `several runs begin with "${idOrPrefix}"; give more of the id: ${listed(ids.map(({ id }) => id))}`,
    );
  const newest = tx.select({ id: runs.id }).from(runs).orderBy(desc(runs.id)).limit(1000).all();
  throw new UnknownName(
    `no run "${idOrPrefix}"${suggest(
      idOrPrefix,
      newest.map(({ id }) => id),
      5,
    )}`,
  );
}

function listed(ids: readonly string[]): string {
  return ids.length > 5 ? `${ids.slice(0, 5).join(", ")}, and ${ids.length - 5} more` : ids.join(", ");
}

/** Several processes may find an old file at the same moment. All migrations are one transaction: who comes second fails whole, and finds them done when it looks again. */
function migrateTogether(db: BunSQLiteDatabase): void {
  const config = { migrationsFolder: join(import.meta.dir, "../../drizzle") };
  try {
    migrate(db, config);
  } catch {
    migrate(db, config);
  }
}

function databaseError(path: string, cause: SQLiteError): DataError {
  return new DataError(
    `${path}: cannot be used as graft's database (${cause.message}); move it away, or name another file`,
    { cause },
  );
}
