/** Reading parts of a file, for the formats that must not be read whole. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { CheckpointError } from "../errors/index.ts";

/** An open file of known size. Close it. */
export interface RandomFile {
  readonly path: string;
  readonly size: number;
  /** Fills `target` from byte `position` on. Throws CheckpointError, saying `what` was read, if the file ends before or was closed. */
  read(position: number, target: Uint8Array, what: string): void;
  close(): void;
}

/** One system call reads at most 2 GiB. */
const MAX_READ_BYTES = 1 << 30;

/** Throws CheckpointError if there is no such file. */
export function openRandomFile(path: string): RandomFile {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new CheckpointError(`${path}: cannot be opened: ${said}`, { cause });
  }
  const stat = fstatSync(file);
  if (!stat.isFile()) {
    closeSync(file);
    throw new CheckpointError(`${path}: is no file`);
  }
  return {
    path,
    size: stat.size,
    read(position, target, what) {
      if (file === undefined) throw new CheckpointError(`${path}: ${what} read after the file was closed`);
      for (let at = 0; at < target.length;) {
        const got = readSync(file, target, at, Math.min(target.length - at, MAX_READ_BYTES), position + at);
        if (got === 0) {
          throw new CheckpointError(
            `${path}: ${what}: the file ends at byte ${position + at}, expected ${position + target.length}; was it changed?`,
          );
        }
        at += got;
      }
    },
    close() {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}
