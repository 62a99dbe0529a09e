/** Bytes by their hash, in the data directory: files as blobs/sha256/ab/abcd..., adapters as blobs/adapters/ab/abcd.../. What is there is whole. */
import { makeFolder, writeFolderAtomic } from "@graft/core/io";
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { StorageError } from "./driver.ts";
import { createKeyedTurns } from "./turns.ts";

export interface Blob {
  readonly sha256: string;
  readonly bytes: number;
}

export type BlobContent = Uint8Array | AsyncIterable<Uint8Array>;

/** Whether the database still has a row for a hash. */
export type IsUsed = (hash: string) => Promise<boolean>;

export interface Blobs {
  /**
   * Writes bytes and then calls `record`, which writes the row: until that is done nobody removes them. If `record` fails, `sweep` will.
   * Throws StorageError where the disk does not take them; what was there is whole.
   */
  put<T>(content: BlobContent, record: (blob: Blob) => Promise<T>): Promise<T>;
  /** Where the bytes are, or would be. */
  path(sha256: string): string;
  /** Removes the bytes if nobody has them. Returns true if they went. */
  remove(sha256: string, isUsed: IsUsed): Promise<boolean>;
  /** As `put`, for the files of an adapter, which `fill` writes; throws what it and writeFolderAtomic throw. A folder with this hash that is there already is the same one. */
  putFolder<T>(
    hash: string,
    fill: (folder: string) => Promise<void> | void,
    record: (folder: string) => Promise<T>,
  ): Promise<T>;
  /** Gives `work` an empty folder on the same disk, for what may become files here; it is gone when `work` has ended. */
  stage<T>(work: (folder: string) => Promise<T>): Promise<T>;
  /** Where the files of an adapter are, or would be. */
  folder(hash: string): string;
  /** As `remove`. */
  removeFolder(hash: string, isUsed: IsUsed): Promise<boolean>;
  /** For a start: removes what a crash left: files that were being written, and bytes without a row. What is being written meanwhile stays. */
  sweep(used: { readonly files: IsUsed; readonly folders: IsUsed }): Promise<Swept>;
}

export interface Swept {
  readonly partials: number;
  readonly files: number;
  readonly folders: number;
}

const PARTIAL = ".partial-";

/** For one server: two that have the same directory would sweep each other's files. `lockData` sees to that. */
export function openBlobs(dataDir: string): Blobs {
  const files = join(dataDir, "blobs", "sha256");
  const folders = join(dataDir, "blobs", "adapters");
  for (const folder of [files, folders]) makeFolder(folder);
  // Everything about a hash goes one after the other; what has a turn is not swept.
  const inTurn = createKeyedTurns();
  const uploads = new Set<string>();

  const remove = (path: string, hash: string, isUsed: IsUsed): Promise<boolean> =>
    inTurn(path, async () => {
      if (!existsSync(path) || (await isUsed(hash))) return false;
      rmSync(path, { recursive: true });
      return true;
    });

  return {
    path: (sha256) => placeOf(files, sha256),
    folder: (hash) => placeOf(folders, hash),
    remove: (sha256, isUsed) => remove(placeOf(files, sha256), sha256, isUsed),
    removeFolder: (hash, isUsed) => remove(placeOf(folders, hash), hash, isUsed),

    async put(content, record) {
      const name = `.upload${PARTIAL}${randomUUID()}`;
      const temporary = join(files, name);
      uploads.add(name);
      try {
        const blob = await writeHashed(temporary, content);
        const path = placeOf(files, blob.sha256);
        return await inTurn(path, async () => {
          if (!existsSync(path)) {
            await toDisk(path, async () => {
              await makeLastFolder(dirname(path));
              await rename(temporary, path);
              await syncFolder(dirname(path));
            });
          }
          return record(blob);
        });
      } finally {
        await rm(temporary, { force: true });
        uploads.delete(name);
      }
    },

    async stage(work) {
      const name = `.stage${PARTIAL}${randomUUID()}`;
      const folder = join(folders, name);
      uploads.add(name);
      try {
        await toDisk(folder, async () => mkdirSync(folder));
        return await work(folder);
      } finally {
        await rm(folder, { recursive: true, force: true });
        uploads.delete(name);
      }
    },

    putFolder(hash, fill, record) {
      const path = placeOf(folders, hash);
      return inTurn(path, async () => {
        if (!existsSync(path)) {
          await toDisk(path, () => makeLastFolder(dirname(path)));
          await writeFolderAtomic(path, fill);
        }
        return record(path);
      });
    },

    async sweep(used) {
      let partials = 0;
      const isPartial = (name: string): boolean => name.startsWith(".") && name.includes(PARTIAL);
      const sweepRoot = async (root: string, isUsed: IsUsed): Promise<number> => {
        let removed = 0;
        for (const first of readdirSync(root)) {
          if (isPartial(first)) {
            if (uploads.has(first)) continue;
            rmSync(join(root, first), { recursive: true, force: true });
            partials++;
            continue;
          }
          for (const name of readdirSync(join(root, first))) {
            const path = join(root, first, name);
            if (isPartial(name)) {
              // ".HASH.partial-...": a folder that somebody may be writing right now.
              const whole = join(root, first, name.slice(1, name.indexOf(PARTIAL)));
              if (inTurn.isTaken(whole)) continue;
              rmSync(path, { recursive: true, force: true });
              partials++;
            } else if (await remove(path, name, isUsed)) removed++;
          }
        }
        return removed;
      };
      const swept = { files: await sweepRoot(files, used.files), folders: await sweepRoot(folders, used.folders) };
      return { ...swept, partials };
    },
  };
}

/** Hashes come from the database or from us; none of them may lead elsewhere. */
function placeOf(root: string, hash: string): string {
  if (!/^[0-9a-f]{8,64}$/.test(hash)) throw new Error(`a hash is hexadecimal digits, not ${JSON.stringify(hash)}`);
  return join(root, hash.slice(0, 2), hash);
}

/** Bytes are on disk when it resolves; on an error the file is gone. */
async function writeHashed(path: string, content: BlobContent): Promise<Blob> {
  const hash = createHash("sha256");
  let bytes = 0;
  const file = await toDisk(path, () => open(path, "wx"));
  try {
    for await (const chunk of content instanceof Uint8Array ? [content] : content) {
      hash.update(chunk);
      bytes += chunk.length;
      await toDisk(path, () => writeAll(file, chunk));
    }
    await toDisk(path, () => file.sync());
  } finally {
    await file.close();
  }
  return { sha256: hash.digest("hex"), bytes };
}

/** The system may take less than it is given. */
async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length;) at += (await file.write(chunk, at)).bytesWritten;
}

async function makeLastFolder(path: string): Promise<void> {
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true });
  await syncFolder(dirname(path));
}

/** Makes a rename durable. Windows cannot open folders, and needs no such thing. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** What the disk says goes out as StorageError; anything else is left as it is. */
async function toDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof Error && "syscall" in cause)) throw cause;
    const isFull = "code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
    const advice = isFull ? "; the disk is full: free some space and try again" : "";
    throw new StorageError(`${path} could not be written: ${cause.message}${advice}`, { cause });
  }
}
