/** The folders in which every Hugging Face library keeps what it downloaded: models--org--name/{blobs,refs,snapshots}. */
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { writeFileAtomic } from "./atomic.ts";

export interface HubCache {
  /** models--org--name. */
  readonly folder: string;
  /** The commit that a branch or tag pointed at when it was last asked for; a commit is itself. */
  commitOf(revision: string): string | undefined;
  setCommit(revision: string, commit: string): void;
  snapshot(commit: string): string;
  blob(etag: string): string;
  /** Puts a blob under its name into a snapshot: a relative link, as the other libraries make. */
  link(commit: string, name: string, etag: string): void;
}

export const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);

/** `name`: org/name, checked by the caller, as `revision` is. */
export function openHubCache(cacheDir: string, name: string): HubCache {
  const folder = join(cacheDir, `models--${name.replaceAll("/", "--")}`);
  const snapshot = (commit: string): string => join(folder, "snapshots", commit);
  const blob = (etag: string): string => join(folder, "blobs", etag);
  return {
    folder,
    snapshot,
    blob,
    commitOf(revision) {
      if (isCommit(revision)) return revision;
      const path = join(folder, "refs", revision);
      if (!existsSync(path)) return undefined;
      const commit = readFileSync(path, "utf8").trim();
      return isCommit(commit) ? commit : undefined;
    },
    setCommit(revision, commit) {
      if (!isCommit(revision)) writeFileAtomic(join(folder, "refs", revision), [commit]);
    },
    link(commit, file, etag) {
      const path = join(snapshot(commit), file);
      mkdirSync(dirname(path), { recursive: true });
      const target = relative(dirname(path), blob(etag));
      const there = lstatSync(path, { throwIfNoEntry: false });
      if (there?.isSymbolicLink() && readlinkSync(path) === target) return;
      rmSync(path, { force: true });
      symlinkSync(target, path);
    },
  };
}
