/** Paths that a request names: only what lies in one of the allowed folders is looked at. */
import { lstat, realpath } from "node:fs/promises";
import { dirname, relative, resolve, sep } from "node:path";
import { ApiError } from "./errors.ts";

/** Longer ones are no paths on any system. */
const MAX_PATH = 4096;

/**
 * Where `path`, which came in the field `param`, really is, with all symbolic links followed. Throws ApiError 403 if that is in none of the `roots`, whether or not there is anything,
 * and 400 if nothing is there inside of one.
 */
export async function confine(path: string, roots: readonly string[], param: string): Promise<string> {
  if (path.length > MAX_PATH || path.includes("\0")) throw new ApiError(400, `${param}: is no path`, { param });
  const allowed = (await Promise.all(roots.map(realPath))).filter((root) => root !== undefined);
  const asked = resolve(path);
  const real = await realPath(asked);
  if (real !== undefined) {
    if (allowed.some((root) => isInside(real, root))) return real;
  } else {
    const above = await nearestAbove(asked);
    if (above !== undefined && allowed.some((root) => isInside(above, root)))
      throw new ApiError(400, `${param}: there is no such file or folder`, { param });
  }
  throw new ApiError(403, `${param}: lies outside of the folders that this server may read adapters from`, {
    param,
    code: "path_not_allowed",
  });
}

/** The real path of the nearest folder above that is there; undefined if the way goes through a link that leads nowhere, since it may lead outside. */
async function nearestAbove(path: string): Promise<string | undefined> {
  const isLink = await lstat(path).then(
    () => true,
    () => false,
  );
  if (isLink || dirname(path) === path) return undefined;
  return (await realPath(dirname(path))) ?? nearestAbove(dirname(path));
}

const realPath = (path: string): Promise<string | undefined> => realpath(path).catch(() => undefined);

function isInside(path: string, root: string): boolean {
  const way = relative(root, path);
  return way !== ".." && !way.startsWith(`..${sep}`) && resolve(root, way) === path;
}
