/** The embedded database: a file, bun:sqlite. */
import { Database, SQLiteError } from "bun:sqlite";
import { DataError } from "@graft/core/errors";
import { makeFolder } from "@graft/core/io";
import { DrizzleError, DrizzleQueryError, type InferSelectModel, type Table } from "drizzle-orm";
import { type BunSQLiteDatabase, drizzle } from "drizzle-orm/bun-sqlite";
import { migrate } from "drizzle-orm/bun-sqlite/migrator";
import { dirname, resolve } from "node:path";
import { type Db, type Driver, StorageError, type Tables } from "../driver.ts";
import { createTurns } from "../turns.ts";
import * as schema from "./schema.ts";

/** How long a writer waits for one in another process. */
const BUSY_MS = 10_000;
const migrationsFolder = resolve(import.meta.dir, "../../../drizzle/sqlite");

/**
 * Opens or makes the file and brings it to the newest schema; several processes may have it open. ":memory:" keeps nothing.
 * Throws DataError for a file that is no database.
 */
export function openSqlite(path: string): Driver {
  const isInMemory = path === ":memory:";
  if (!isInMemory) makeFolder(dirname(path));
  const opened: Database[] = [];
  const connect = (): Connection => {
    const sqlite = new Database(path, { create: true });
    opened.push(sqlite);
    // First: what follows may have to wait for another process already.
    sqlite.run("PRAGMA busy_timeout = 5000");
    // Readers do not wait for the writer; a commit is on disk before it is acknowledged.
    sqlite.run("PRAGMA journal_mode = WAL");
    sqlite.run("PRAGMA synchronous = FULL");
    sqlite.run("PRAGMA foreign_keys = ON");
    return { sqlite, db: drizzle(sqlite), inTurn: createTurns() };
  };
  let writer: Connection;
  let reader: Connection;
  try {
    writer = connect();
    migrateTogether(writer.db);
    // Waiting inside of SQLite would stop the whole process: `begin` waits instead.
    writer.sqlite.run("PRAGMA busy_timeout = 0");
    reader = isInMemory ? writer : connect();
  } catch (cause) {
    for (const sqlite of opened) sqlite.close();
    const said = sqliteErrorOf(cause);
    throw said === undefined ? cause : openError(path, said);
  }
  /** Everything on a connection goes one after the other: async work of two transactions would mix. */
  const run = <T>({ db, inTurn }: Connection, work: (db: Db) => PromiseLike<T>): Promise<T> =>
    inTurn(async () => {
      try {
        return await work(asDb(db));
      } catch (error) {
        throw storageError(path, error);
      }
    });
  const transaction = <T>(connection: Connection, kind: "DEFERRED" | "IMMEDIATE", work: (db: Db) => Promise<T>) =>
    run(connection, async (db) => {
      await begin(connection.sqlite, kind);
      try {
        const result = await work(db);
        connection.sqlite.run("COMMIT");
        return result;
      } catch (error) {
        // SQLite itself has rolled back already where the disk is full.
        if (connection.sqlite.inTransaction) connection.sqlite.run("ROLLBACK");
        throw error;
      }
    });
  return {
    tables: asTables(schema),
    query: (work) => run(reader, work),
    snapshot: (work) => transaction(reader, "DEFERRED", work),
    write: (work) => transaction(writer, "IMMEDIATE", work),
    close: async () => {
      // In turn: what was begun is ended first.
      await writer.inTurn(() => Promise.resolve());
      await reader.inTurn(() => Promise.resolve());
      for (const sqlite of opened) sqlite.close();
    },
  };
}

interface Connection {
  readonly sqlite: Database;
  readonly db: BunSQLiteDatabase;
  readonly inTurn: ReturnType<typeof createTurns>;
}

/** Builders of both dialects take the same calls, and both can be awaited; the conformance tests run every query on both. */
const asDb = (db: BunSQLiteDatabase): Db => db as unknown as Db;

type Rows<S> = {
  [K in keyof S as S[K] extends Table ? K : never]: S[K] extends Table ? InferSelectModel<S[K]> : never;
};
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** The compiler checks that both schemas have the same rows. */
const asTables = (tables: Same<Rows<typeof schema>, Rows<Tables>> extends true ? typeof schema : never): Tables =>
  tables as unknown as Tables;

/** Takes the lock before it reads: a writer in another process cannot come between. */
async function begin(sqlite: Database, kind: "DEFERRED" | "IMMEDIATE"): Promise<void> {
  const end = performance.now() + BUSY_MS;
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, 50)) {
    try {
      sqlite.run(`BEGIN ${kind}`);
      return;
    } catch (error) {
      const isBusy = error instanceof SQLiteError && error.code?.startsWith("SQLITE_BUSY") === true;
      if (!isBusy || performance.now() > end) throw error;
      await Bun.sleep(pauseMs);
    }
  }
}

/** Several processes may find an old file at the same moment. All migrations are one transaction: who comes second fails whole, and finds them done when it looks again. */
function migrateTogether(db: BunSQLiteDatabase): void {
  try {
    migrate(db, { migrationsFolder });
  } catch {
    migrate(db, { migrationsFolder });
  }
}

function openError(path: string, cause: SQLiteError): DataError {
  return new DataError(
    `${path}: cannot be used as graft's database (${cause.message}); move it away, or name another file`,
    { cause },
  );
}

/** What SQLite said; drizzle puts it into errors of its own. */
function sqliteErrorOf(error: unknown): SQLiteError | undefined {
  if (error instanceof SQLiteError) return error;
  return error instanceof DrizzleQueryError || error instanceof DrizzleError ? sqliteErrorOf(error.cause) : undefined;
}

function storageError(path: string, error: unknown): unknown {
  const cause = sqliteErrorOf(error);
  if (!cause) return error;
  const advice = cause.code === "SQLITE_FULL" ? "; the disk is full: free some space and try again" : "";
  return new StorageError(`${path}: ${cause.message}${advice}`, { cause });
}
