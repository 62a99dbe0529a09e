import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = process.env.GRAFT_SHARED ?? resolve(import.meta.dir, "../../../../shared");

/** A path in the folder of reference data beside the checkout; undefined where it is not there. */
export function shared(path: string): string | undefined {
  const full = join(folder, path);
  return existsSync(full) ? full : undefined;
}
