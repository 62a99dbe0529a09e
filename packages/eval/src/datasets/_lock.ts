/** What was pulled: hashes of files whose publisher gives none, so that a later pull notices a change. */
import { readJson, writeFileAtomic } from "@graft/core/io";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

export const LOCK_NAME = "datasets.lock.json";

const lockSchema = z.object({
  /** By path below the data folder. */
  files: z.record(
    z.string(),
    z.object({ url: z.string(), sha256: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.int().min(0) }),
  ),
});
export type LockEntry = z.output<typeof lockSchema>["files"][string];

/** The lock of a data folder; empty where there is none. Throws ConfigError naming file and field if it is damaged. */
export function readLock(folder: string): Readonly<Record<string, LockEntry>> {
  const path = join(folder, LOCK_NAME);
  return existsSync(path) ? readJson(path, lockSchema).files : {};
}

/** Adds or replaces an entry. */
export function lock(folder: string, path: string, entry: LockEntry): void {
  const files = { ...readLock(folder), [path]: entry };
  const sorted = Object.fromEntries(Object.entries(files).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  writeFileAtomic(join(folder, LOCK_NAME), [`${JSON.stringify({ files: sorted }, null, 2)}\n`]);
}
