/** Writing so that a crash, a full disk or a kill leaves either the old file or the new one, never a part. */
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";

export interface AtomicOptions {
  /** Writes `length` bytes from `offset` on and returns how many it took; default `fs.writeSync`. Tests pass one that fails. */
  readonly write?: (file: number, bytes: Uint8Array, offset: number, length: number) => number;
}

/** A file being written under a temporary name beside its place. Ends with `commit` or `abort`. */
export interface AtomicFile {
  /** Throws, with the path in the message, what the disk says; the caller then aborts. */
  write(bytes: Uint8Array | string): void;
  /** Syncs the file and renames it into place. On an error everything is as before, and the temporary file is gone. */
  commit(): void;
  /** Removes the temporary file. Does nothing after `commit`. */
  abort(): void;
}

/** node refuses a single write of 2 GiB or more. */
const MAX_WRITE_BYTES = 1 << 30;
const temporaryMark = ".partial-";

/** Opens a temporary file for `path`, making its folder if need be. A symbolic link at `path` will be replaced, not followed. */
export function openAtomic(path: string, { write = fs.writeSync }: AtomicOptions = {}): AtomicFile {
  const folder = dirname(path);
  const temporary = temporaryName(path);
  let file: number | undefined;
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (cause) {
      throw diskError(path, cause);
    }
  };
  const abort = (): void => {
    if (file === undefined) return;
    fs.closeSync(file);
    file = undefined;
    fs.rmSync(temporary, { force: true });
  };
  attempt(() => {
    fs.mkdirSync(folder, { recursive: true });
    file = fs.openSync(temporary, "wx");
  });
  return {
    abort,
    write(content) {
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      for (let at = 0; at < bytes.length;) {
        attempt(() => {
          const taken = write(file!, bytes, at, Math.min(bytes.length - at, MAX_WRITE_BYTES));
          if (taken === 0) throw new Error("the disk took no bytes");
          at += taken;
        });
      }
    },
    commit() {
      try {
        attempt(() => {
          fs.fsyncSync(file!);
          fs.renameSync(temporary, path);
        });
      } catch (error) {
        abort();
        throw error;
      }
      fs.closeSync(file!);
      file = undefined;
      syncFolder(folder);
    },
  };
}

/**
 * Writes chunks as a file that replaces the one at `path` at once. On any error the temporary file is removed and the old file whole; a disk error has the path
 * and what went wrong in its message.
 */
export function writeFileAtomic(
  path: string,
  chunks: Iterable<Uint8Array | string>,
  options: AtomicOptions = {},
): void {
  const file = openAtomic(path, options);
  try {
    for (const chunk of chunks) file.write(chunk);
  } catch (error) {
    file.abort();
    throw error;
  }
  file.commit();
}

/**
 * Fills a temporary folder beside `path` and renames it to `path`, replacing what was there. On any error of `fill` or the disk the temporary folder is gone and what was at
 * `path` is untouched. POSIX cannot exchange two folders in one step: if the process dies between the two renames of a replacement, the old folder lies whole beside `path`,
 * where `recoverFolder` finds it.
 */
export async function writeFolderAtomic(path: string, fill: (folder: string) => Promise<void> | void): Promise<void> {
  const temporary = temporaryName(path);
  const previous = previousName(path);
  fs.mkdirSync(dirname(path), { recursive: true });
  recoverFolder(path);
  try {
    fs.mkdirSync(temporary);
    await fill(temporary);
    syncTree(temporary);
    if (exists(path)) fs.renameSync(path, previous);
    try {
      fs.renameSync(temporary, path);
    } catch (error) {
      recoverFolder(path);
      throw error;
    }
  } catch (error) {
    fs.rmSync(temporary, { recursive: true, force: true });
    throw diskErrorOf(path, error);
  }
  syncFolder(dirname(path));
  fs.rmSync(previous, { recursive: true, force: true });
}

/**
 * Writes several files of a folder that belong together, leaving what else is there: `fill` writes them into a temporary folder inside, then each replaces its
 * namesake. On any error of `fill` or a full disk all of them are as they were.
 */
export async function writeFilesAtomic(folder: string, fill: (folder: string) => Promise<void> | void): Promise<void> {
  const temporary = temporaryName(join(folder, "files"));
  try {
    fs.mkdirSync(temporary, { recursive: true });
    await fill(temporary);
    syncTree(temporary);
    for (const name of fs.readdirSync(temporary)) fs.renameSync(join(temporary, name), join(folder, name));
  } catch (error) {
    throw diskErrorOf(folder, error);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
  syncFolder(folder);
}

/** Ends a replacement by `writeFolderAtomic` that a crash cut in half: with nothing at `path` the old folder comes back. Returns true if it did. */
export function recoverFolder(path: string): boolean {
  const previous = previousName(path);
  if (!exists(previous)) return false;
  if (exists(path)) {
    fs.rmSync(previous, { recursive: true, force: true });
    return false;
  }
  fs.renameSync(previous, path);
  return true;
}

/** Deletes what killed writers left in `folder` and returns the names. Only for a folder that nobody else is writing to. */
export function removePartials(folder: string): string[] {
  const names = fs.readdirSync(folder).filter((name) => name.startsWith(".") && name.includes(temporaryMark));
  for (const name of names) fs.rmSync(join(folder, name), { recursive: true, force: true });
  return names;
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}${temporaryMark}${crypto.randomUUID()}`);
}

function previousName(path: string): string {
  return join(dirname(path), `.${basename(path)}.previous`);
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "code" in error && "syscall" in error;
}

/** What the disk said, about the place that was to be replaced. */
class DiskError extends Error {}

function diskError(path: string, cause: unknown): DiskError {
  const said = cause instanceof Error ? cause.message : String(cause);
  return new DiskError(`${path} could not be written, what was there is unchanged: ${said}${advice(cause)}`, { cause });
}

/** An error inside a temporary folder, told of the folder's own name: nobody knows the other. Anything but the disk's own errors is left as it is. */
function diskErrorOf(path: string, error: unknown): unknown {
  if (error instanceof DiskError) return diskError(path, error.cause);
  return isSystemError(error) ? diskError(path, error) : error;
}

/** The end of a message about a write that failed: what to do where that is known. */
export function advice(cause: unknown): string {
  const full = isSystemError(cause) && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
  return full ? "; the disk is full: free some space and try again" : "";
}

function exists(path: string): boolean {
  return fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function syncTree(folder: string): void {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) syncTree(path);
    else if (entry.isFile()) syncPath(path);
  }
  syncFolder(folder);
}

/** Makes a rename durable. Windows cannot open folders, and needs no such thing. */
function syncFolder(folder: string): void {
  if (process.platform !== "win32") syncPath(folder);
}

function syncPath(path: string): void {
  const file = fs.openSync(path, "r");
  try {
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
}
