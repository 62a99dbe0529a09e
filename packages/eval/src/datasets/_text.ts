/** Text files. */
import { DataError } from "@graft/core/errors";
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";

/** The text of a file, plain or gzipped, without a byte order mark. Throws DataError naming it: not there, damaged gzip, not UTF-8. */
export async function readText(path: string): Promise<string> {
  const attempt = <T>(act: () => T, problem: string): T => {
    try {
      return act();
    } catch (cause) {
      throw new DataError(`${path}: ${problem}`, { cause });
    }
  };
  const stored = await readFile(path).catch((cause: unknown) => {
    throw new DataError(`${path}: cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, {
      cause,
    });
  });
  const isGzip = stored[0] === 0x1f && stored[1] === 0x8b;
  const bytes = isGzip ? attempt(() => gunzipSync(stored), "the gzip stream is damaged or cut short") : stored;
  return attempt(() => new TextDecoder("utf-8", { fatal: true }).decode(bytes), "the text is not UTF-8");
}
