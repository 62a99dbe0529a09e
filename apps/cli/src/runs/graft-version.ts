/** Which Graft this is. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import manifest from "../../package.json";
import { config } from "../config.ts";

export interface GraftVersion {
  readonly version: string;
  /** Of the checkout; null where it is none. Changes that are not committed do not show. */
  readonly commit: string | null;
}

/** The version of the package, and the commit that HEAD names, read without git. */
export function graftVersion(root: string = config.root): GraftVersion {
  return { version: manifest.version, commit: commitOf(root) ?? null };
}

function commitOf(root: string): string | undefined {
  const folder = gitFolder(join(root, ".git"));
  const head = folder === undefined ? undefined : read(join(folder, "HEAD"));
  if (folder === undefined || head === undefined) return undefined;
  const ref = /^ref: (.+)$/.exec(head)?.[1];
  if (ref === undefined) return asCommit(head);
  // A worktree keeps its HEAD to itself and shares the branches.
  const shared = read(join(folder, "commondir"));
  for (const place of [folder, ...(shared === undefined ? [] : [resolve(folder, shared)])]) {
    const loose = read(join(place, ref));
    if (loose !== undefined) return asCommit(loose);
    const packed = read(join(place, "packed-refs"))
      ?.split("\n")
      .find((line) => line.endsWith(` ${ref}`));
    if (packed !== undefined) return asCommit(packed.split(" ")[0]!);
  }
  return undefined; // nothing was committed yet
}

/** `.git` is a folder, or in a worktree or submodule a file that names one. */
function gitFolder(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  if (statSync(path).isDirectory()) return path;
  const named = /^gitdir: (.+)$/.exec(read(path) ?? "")?.[1];
  return named === undefined ? undefined : resolve(path, "..", named);
}

function read(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
}

function asCommit(text: string): string | undefined {
  return /^[0-9a-f]{40}([0-9a-f]{24})?$/.test(text) ? text : undefined;
}
