/** A version that was checked before, read from its folder. */
import { CheckpointError } from "../errors/index.ts";
import { type AdapterLoader, type BankedVersion, difference, type HostAdapter } from "./adapter-version.ts";

/**
 * Tries the folder of the version and those its names give, unless a load brings the values meanwhile.
 * Throws CheckpointError naming adapter and folder if none has the files that were checked.
 */
export async function readVersion(
  loader: AdapterLoader,
  version: BankedVersion,
  pathsOf: (version: BankedVersion) => Iterable<string>,
): Promise<HostAdapter> {
  const tried = new Set<string>();
  let failure: CheckpointError | undefined;
  for (;;) {
    if (version.host) return version.host;
    // Looked up anew each time: a name may have come with another folder.
    const path = [version.info.path, ...pathsOf(version)].find((candidate) => !tried.has(candidate));
    if (path === undefined) throw failure!;
    tried.add(path);
    try {
      const host = await loader.read(path);
      const changed = difference(version.info, host.info);
      if (changed === undefined) return version.host ?? host;
      throw new CheckpointError(`the files are not those that were checked before: ${changed}`);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      failure ??= new CheckpointError(
        `${labelOf(version)} at ${path}: cannot be read again: ${message}; put the folder back and load the adapter again`,
        { cause },
      );
    }
  }
}

/** How an error calls a version: by its first name, or by its hash if it has none any more. */
export function labelOf({ id, names }: BankedVersion): string {
  const [name] = names;
  return name === undefined ? `adapter version ${id}` : `adapter "${name}"`;
}
