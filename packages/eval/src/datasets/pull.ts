/** Data sets from where they are published. */
import { DataError, DownloadError } from "@graft/core/errors";
import { makeFolder, writeFileAtomic } from "@graft/core/io";
import { createHash } from "node:crypto";
import { closeSync, createReadStream, existsSync, fsyncSync, mkdirSync, openSync, renameSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Dataset, DatasetSource } from "../dataset.ts";
import { hashOf } from "../hash.ts";
import { downloadInto, type DownloadOptions, removePart } from "./_download.ts";
import { lock, LOCK_NAME, readLock } from "./_lock.ts";
import { readZipped } from "./_unzip.ts";

export { LOCK_NAME };

export interface PullProgress {
  /** Below the data folder, or the archive that it comes in. */
  readonly file: string;
  readonly bytes: number;
  /** Undefined where the server does not say it. */
  readonly total: number | undefined;
}

export interface PullOptions extends Omit<DownloadOptions, "onProgress"> {
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

export interface PulledFile {
  readonly path: string;
  /** unchanged: it was there and has its hash. kept: it was there before any pull, and nobody knows its hash. */
  readonly state: "pulled" | "unchanged" | "kept";
  readonly sha256: string;
  readonly sizeBytes: number;
}

/**
 * Fetches the files of a data set into a data folder. Each is checked against the hash that Graft knows, or else against the one that the first pull wrote into datasets.lock.json;
 * a download that breaks off is continued, and a file takes its place when it is whole and right. Throws DownloadError, DataError for a data set without sources.
 */
export async function pullDataset(
  { name, sources: all }: Pick<Dataset, "name" | "sources">,
  folder: string,
  options: PullOptions = {},
): Promise<PulledFile[]> {
  if (all.length === 0)
    throw new DataError(`data set ${name} cannot be pulled: nobody publishes its files in a form that Graft reads`);
  makeFolder(folder);
  const pulled: PulledFile[] = [];
  for (const [url, sources] of Map.groupBy(all, ({ url }) => url.split("#")[0]!)) {
    const open: DatasetSource[] = [];
    for (const source of sources) {
      const found = await present(source, folder);
      if (found) pulled.push(found);
      else open.push(source);
    }
    if (open.length > 0) pulled.push(...(await fetchFiles(url, open, folder, options)));
  }
  return pulled;
}

/** The file if it is there and need not be fetched. */
async function present(source: DatasetSource, folder: string): Promise<PulledFile | undefined> {
  const path = join(folder, source.path);
  if (!existsSync(path)) return undefined;
  const [sha256, expected] = [await hashFile(path), expectedHash(source, folder)];
  if (expected !== undefined && expected !== sha256) return undefined;
  return { path: source.path, state: expected ? "unchanged" : "kept", sha256, sizeBytes: statSync(path).size };
}

/** Files that are at one URL: itself, or the members of an archive that its fragments name. */
async function fetchFiles(
  url: string,
  sources: readonly DatasetSource[],
  folder: string,
  { onProgress, ...options }: PullOptions,
): Promise<PulledFile[]> {
  const isArchive = sources[0]!.url.includes("#");
  const file = isArchive ? basename(url) : sources[0]!.path;
  const part = `${join(folder, file)}.part`;
  await downloadInto(part, url, { ...options, onProgress: (bytes, total) => onProgress?.({ file, bytes, total }) });
  try {
    if (isArchive) await checkHash(part, sources[0]!.sha256, url, "Graft knows");
    const pulled: PulledFile[] = [];
    for (const source of sources) {
      const path = join(folder, source.path);
      const bytes = isArchive ? readZipped(part, source.url.slice(url.length + 1)) : undefined;
      const sha256 = bytes ? hashOf(bytes) : await hashFile(part);
      compareHash(
        sha256,
        expectedHash(source, folder),
        source.url,
        isPinned(source) ? "Graft knows" : `is in ${join(folder, LOCK_NAME)}`,
      );
      if (bytes) writeFileAtomic(path, [bytes]);
      else moveInto(part, path);
      const sizeBytes = statSync(path).size;
      lock(folder, source.path, { url: source.url, sha256, sizeBytes });
      pulled.push({ path: source.path, state: "pulled", sha256, sizeBytes });
    }
    return pulled;
  } finally {
    // Whole or wrong: nothing of it is to be continued.
    removePart(part);
  }
}

/** The hash that Graft knows of a plain file, else the one of the first pull. */
function expectedHash(source: DatasetSource, folder: string): string | undefined {
  return isPinned(source) ? source.sha256 : readLock(folder)[source.path]?.sha256;
}

/** Of an archive the hash is that of the whole. */
const isPinned = ({ url, sha256 }: DatasetSource): boolean => sha256 !== undefined && !url.includes("#");

async function checkHash(path: string, expected: string | undefined, url: string, whose: string): Promise<void> {
  if (expected !== undefined) compareHash(await hashFile(path), expected, url, whose);
}

function compareHash(sha256: string, expected: string | undefined, url: string, whose: string): void {
  if (expected === undefined || sha256 === expected) return;
  const advice = whose.startsWith("is in")
    ? "; if the publisher has changed it and you want the new one, remove its entry there"
    : "; try again, or get it another way";
  throw new DownloadError(
    `${url}: what came has the SHA-256 ${sha256}, ${expected} ${whose}; nothing was replaced${advice}`,
  );
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}

/** In one step, and durable: Windows cannot open folders, and needs no such thing. */
function moveInto(part: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  renameSync(part, path);
  if (process.platform === "win32") return;
  const folder = openSync(dirname(path), "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
