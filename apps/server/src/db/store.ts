/** The database: bun:sqlite through drizzle. Every acknowledged write is on disk. */
import { Database } from "bun:sqlite";
import { asc, eq } from "drizzle-orm";
import { type BunSQLiteDatabase, drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { dirname, join } from "node:path";
import { UnknownName } from "@graft/core/errors";
import { makeFolder } from "@graft/core/io";
import { assertTransition } from "./job-state.ts";
import { adapters, jobs, type JobState } from "./schema.ts";

export type AdapterRow = typeof adapters.$inferSelect;
export type JobRow = typeof jobs.$inferSelect;

export class Store {
  #sqlite: Database;
  #db: BunSQLiteDatabase;

  /** Opens or makes the file and brings it to the newest schema. ":memory:" keeps nothing. */
  constructor(path: string) {
    if (path !== ":memory:") makeFolder(dirname(path));
    this.#sqlite = new Database(path, { create: true });
    // Readers do not wait for the writer; a commit is on disk before it is acknowledged.
    this.#sqlite.run("PRAGMA journal_mode = WAL");
    this.#sqlite.run("PRAGMA synchronous = FULL");
    this.#sqlite.run("PRAGMA busy_timeout = 5000");
    this.#db = drizzle(this.#sqlite);
    migrate(this.#db, { migrationsFolder: join(import.meta.dir, "../../drizzle") });
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
    });
  }

  close(): void {
    this.#sqlite.close();
  }
}
