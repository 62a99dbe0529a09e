/** What the queries run on. They are written once, in the types of Postgres; SQLite's builders take the same calls. */
import type { PgDatabase, PgQueryResultHKT } from "drizzle-orm/pg-core";
import type * as schema from "./postgres/schema.ts";

export type Tables = typeof schema;
export type Db = Pick<PgDatabase<PgQueryResultHKT>, "select" | "selectDistinct" | "insert" | "update" | "delete">;

export interface Driver {
  readonly tables: Tables;
  /** One statement. */
  query<T>(work: (db: Db) => PromiseLike<T>): Promise<T>;
  /** Several statements that see the same state. */
  snapshot<T>(work: (db: Db) => Promise<T>): Promise<T>;
  /** A transaction: all of it is on disk when this resolves, or nothing of it was done. Not to be called inside of another one. */
  write<T>(work: (db: Db) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** The database failed, not the request: the disk is full, the server is gone, another process holds the file. Says where; holds no password. */
export class StorageError extends Error {
  override name = "StorageError";
}
