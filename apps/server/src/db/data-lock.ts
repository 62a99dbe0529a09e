/** One server for a data directory. */
import { Database, SQLiteError } from "bun:sqlite";
import { ConfigError } from "@graft/core/errors";
import { makeFolder, writeFileAtomic } from "@graft/core/io";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface DataLock {
  release(): void;
}

/**
 * Takes the directory until `release` or the end of the process. Throws ConfigError if another process has it, or if it cannot be written to.
 * The lock is the operating system's, on a file that SQLite holds: it goes when its process goes, so a killed server leaves none behind.
 */
export function lockData(folder: string): DataLock {
  makeFolder(folder);
  const owner = join(folder, "server.pid");
  let lock: Database | undefined;
  try {
    lock = new Database(join(folder, "server.lock"), { create: true });
    lock.run("PRAGMA locking_mode = EXCLUSIVE");
    // Kept until the database is closed: the mode says so.
    lock.run("BEGIN EXCLUSIVE");
  } catch (cause) {
    lock?.close();
    if (!(cause instanceof SQLiteError)) throw cause;
    const isTaken = cause.code?.startsWith("SQLITE_BUSY") === true;
    throw new ConfigError(
      isTaken
        ? `${folder}: another server uses this data directory${processOf(owner)}; stop it, or choose another directory`
        : `${folder}: cannot be locked (${cause.message}); choose another directory`,
      { cause },
    );
  }
  writeFileAtomic(owner, [`${process.pid}\n`]);
  const held = lock;
  return { release: () => held.close() };
}

/** Who wrote the file last; "" where that cannot be seen. */
function processOf(path: string): string {
  try {
    const pid = readFileSync(path, "utf8").trim();
    return /^\d+$/.test(pid) ? ` (process ${pid})` : "";
  } catch {
    return "";
  }
}
