/** Places that a run writes to beside whole files: its folder, and logs that grow line by line. */
import { accessSync, appendFileSync, constants, mkdirSync, readFileSync } from "node:fs";
import { ConfigError } from "../errors/index.ts";
import { advice, writeFileAtomic } from "./atomic.ts";

/** Makes a folder, with those above it, if it is not there. Throws ConfigError if it cannot be made or not be written to: before the work, not after it. */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
    accessSync(path, constants.W_OK);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException; // node:fs throws nothing else
    const problem =
      code === "EEXIST"
        ? "is a file, not a folder"
        : code === "ENOTDIR"
          ? "leads through a file"
          : `cannot be made or written to (${message})`;
    throw new ConfigError(`${path}: ${problem}; choose another folder`, { cause });
  }
}

/** Appends to a log. Throws an Error with the path and what the disk said. */
export function appendText(path: string, text: string): void {
  try {
    appendFileSync(path, text);
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${path} could not be written to: ${said}${advice(cause)}`, { cause });
  }
}

/** Keeps the lines of a JSONL log that are whole and for which `isKept` holds; a killed writer leaves a part of one. What `isKept` gets was parsed, no more. */
export function trimJsonLines(path: string, isKept: (value: unknown) => boolean): void {
  const lines = readFileSync(path, "utf8").split("\n");
  const kept = lines.filter((line) => {
    try {
      return isKept(JSON.parse(line));
    } catch {
      return false; // cut short, or the end of the file
    }
  });
  writeFileAtomic(
    path,
    kept.map((line) => `${line}\n`),
  );
}
