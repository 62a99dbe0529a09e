/** The database that commands record their runs in and read them from. */
import { DataError, ConfigError } from "@graft/core/errors";
import { databaseName, isDatabaseUrl, openStore, StorageError, type Store } from "@graft/server/db";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { config } from "../config.ts";

/** The file that `graft serve` has too. */
export const databaseFile = join(config.dataDir, databaseName);

export const databaseOption = z.string().default(databaseFile).describe("database of runs: a file, or postgres://...");

/** Opens the database, made if it is not there, and closes it whatever becomes of `use`. "none" is no database. Throws DataError for a damaged one. */
export async function withStore<T>(path: string, use: (store: Store | undefined) => Promise<T>): Promise<T> {
  return path === "none" ? use(undefined) : withOpened(path, use);
}

/** As withStore, for a command that reads: throws ConfigError if there is no such file. */
export function withRecordedRuns<T>(path: string, use: (store: Store) => Promise<T> | T): Promise<T> {
  if (!isDatabaseUrl(path) && !existsSync(path))
    throw new ConfigError(`${path}: no such database; \`graft eval\` records its runs there, --db names another one`);
  return withOpened(path, use);
}

async function withOpened<T>(path: string, use: (store: Store) => Promise<T> | T): Promise<T> {
  const store = await openStore(isDatabaseUrl(path) ? { url: path } : { path });
  try {
    return await use(store);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    throw new DataError(`${error.message}; if it is damaged, move it away and record the runs again`, { cause: error });
  } finally {
    await store.close();
  }
}
