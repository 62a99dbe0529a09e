/** The database. Every acknowledged write is on disk. */
import { type AdapterStore, adapterStore } from "./adapters.ts";
import type { Driver } from "./driver.ts";
import { type FileStore, fileStore } from "./files.ts";
import { type JobStore, jobStore } from "./jobs.ts";
import { type KeyStore, keyStore } from "./keys.ts";
import { type RunStore, runStore } from "./runs.ts";

/** What the file is called in a data folder. */
export const databaseName = "graft.sqlite";

/** Database failures throw StorageError; rows that something else damaged throw DataError. */
export interface Store extends AdapterStore, FileStore, JobStore, KeyStore, RunStore {
  /** Ends what was begun, and lets go of the database. */
  close(): Promise<void>;
}

export type StoreLocation =
  /** postgres://user:password@host:5432/name */
  | { readonly url: string }
  /** A file of SQLite's, made if it is not there; ":memory:" keeps nothing. */
  | { readonly path: string };

/** Is it where a Postgres server is, and no file? */
export const isDatabaseUrl = (text: string): boolean => /^postgres(?:ql)?:\/\//.test(text);

/** Opens the database and brings it to the newest schema. Throws DataError for a file that is no database, or a server that cannot be reached. */
export async function openStore(
  location: StoreLocation,
  { now = () => new Date() }: { readonly now?: () => Date } = {},
): Promise<Store> {
  const driver = await openDriver(location);
  return {
    ...adapterStore(driver),
    ...fileStore(driver),
    ...jobStore(driver),
    ...keyStore(driver, now),
    ...runStore(driver),
    close: () => driver.close(),
  };
}

/** Only the driver that is needed is loaded: a command line has no time to lose. */
async function openDriver(location: StoreLocation): Promise<Driver> {
  if ("path" in location) return (await import("./sqlite/open.ts")).openSqlite(location.path);
  return (await import("./postgres/open.ts")).openPostgres(location.url);
}
