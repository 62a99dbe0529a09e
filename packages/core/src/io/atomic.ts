/** Writing so that a crash, a full disk or a kill leaves either the old file or the new one, never a part. */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Writes chunks to a temporary file beside `path`, syncs it and renames it over `path`. On any error the temporary file is removed, the old file is
 * whole, and the error is thrown with the path in its message.
 */
export function writeFileAtomic(path: string, chunks: Iterable<Uint8Array | string>): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2, 8)}.tmp`;
  let file: number | undefined;
  try {
    file = openSync(temporary, "wx");
    for (const chunk of chunks) {
      const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
      let at = 0;
      while (at < bytes.length) at += writeSync(file, bytes, at, bytes.length - at);
    }
    fsyncSync(file);
    closeSync(file);
    file = undefined;
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (cause) {
    if (file !== undefined) closeSync(file);
    rmSync(temporary, { force: true });
    throw new Error(
      `${path} could not be written, what was there is unchanged: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        cause,
      },
    );
  }
}

/** Fills a temporary folder beside `path` and renames it to `path`, replacing what was there. On error nothing has changed. */
export async function writeFolderAtomic(path: string, fill: (folder: string) => Promise<void> | void): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const suffix = `${process.pid}.${Math.random().toString(36).slice(2, 8)}`;
  const temporary = `${path}.${suffix}.tmp`;
  const old = `${path}.${suffix}.old`;
  try {
    mkdirSync(temporary);
    await fill(temporary);
    syncFolder(temporary);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
  let hadOld = true;
  try {
    renameSync(path, old);
  } catch {
    hadOld = false;
  }
  renameSync(temporary, path);
  syncFolder(dirname(path));
  if (hadOld) rmSync(old, { recursive: true, force: true });
}

function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
