/** A file of a web server, taken up again where it broke off. */
import { DownloadError } from "@graft/core/errors";
import { type HubFetch, pause } from "@graft/core/io";
import { existsSync } from "node:fs";
import * as fs from "node:fs";
import { dirname } from "node:path";

export interface DownloadOptions {
  readonly fetch?: HubFetch | undefined;
  readonly signal?: AbortSignal | undefined;
  /** `total` is undefined where the server does not say it. */
  readonly onProgress?: ((bytes: number, total: number | undefined) => void) | undefined;
  /** Attempts without a single byte after which it is given up; default 5. */
  readonly retries?: number | undefined;
  /** Pause before the first of them, doubled each time; default 500. */
  readonly retryDelayMs?: number | undefined;
  /** Writes bytes at a place and returns how many it took; default `fs.writeSync`. Tests pass one that fails. */
  readonly write?:
    | ((file: number, bytes: Uint8Array, offset: number, length: number, at: number) => number)
    | undefined;
}

/**
 * Fills the file `part` with what is at the URL. Bytes that are there are kept if the server still has the file they are from (Range and If-Range, RFC 9110, section 13.1.5).
 * Throws DownloadError if the server refuses or cannot be reached, an Error if the disk refuses; `part` stays for the next time.
 */
export async function downloadInto(part: string, url: string, options: DownloadOptions): Promise<void> {
  const { retries = 5, retryDelayMs = 500, signal } = options;
  const file = new Part(part, options.write);
  try {
    for (let failures = 0; ;) {
      try {
        const before = file.size;
        try {
          await continuePart(file, url, options);
          break;
        } finally {
          if (file.size > before) failures = 0;
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof Unreachable)) throw error;
        if (failures === retries) {
          throw new DownloadError(
            `${url}: ${error.message}, ${retries + 1} times; what is there (${file.size} bytes) will be continued next time`,
            { cause: error },
          );
        }
        await pause(retryDelayMs * 2 ** failures++, signal);
      }
    }
    file.sync();
  } finally {
    file.close();
  }
}

/** Removes a part and what is known of it. */
export function removePart(part: string): void {
  fs.rmSync(part, { force: true });
  fs.rmSync(validatorOf(part), { force: true });
}

/** Another attempt may help. */
class Unreachable extends Error {
  override name = "Unreachable";
}

async function continuePart(
  file: Part,
  url: string,
  { fetch: own = fetch, signal, onProgress }: DownloadOptions,
): Promise<void> {
  const validator = file.validator;
  // Without it nobody knows whether the rest belongs to these bytes.
  if (validator === undefined) file.restart(undefined);
  const asked = file.size;
  const headers: Record<string, string> = { "Accept-Encoding": "identity" };
  if (asked > 0 && validator !== undefined) Object.assign(headers, { Range: `bytes=${asked}-`, "If-Range": validator });
  const response = await own(url, { headers, ...(signal ? { signal } : {}) }).catch((cause: unknown) => {
    throw new Unreachable(`cannot be reached (${said(cause)})`, { cause });
  });
  const total = beginAnswer(file, response, asked, url);
  if (total === "complete") return;
  onProgress?.(file.size, total);
  for await (const chunk of bytesOf(response)) {
    file.append(chunk);
    onProgress?.(file.size, total);
  }
  if (total !== undefined && file.size !== total) throw new Unreachable(`ended after ${file.size} of ${total} bytes`);
}

/** Makes the part ready for what the answer brings. Returns the whole file's size, undefined where it is not said, "complete" where nothing is left to come. */
function beginAnswer(file: Part, response: Response, asked: number, url: string): number | undefined | "complete" {
  const { status, headers } = response;
  if (status === 200) {
    // Of a compressed answer the bytes on the wire are counted, not those that arrive here.
    const isPlain = (headers.get("content-encoding") ?? "identity") === "identity";
    file.restart(isPlain ? strongValidator(headers) : undefined);
    return isPlain ? sizeOf(headers.get("content-length")) : undefined;
  }
  if (status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get("content-range") ?? "") ?? [];
    if (Number(from) === asked) return sizeOf(total);
    file.restart(undefined);
    throw new Unreachable(`sends bytes from ${from ?? "nowhere"}, asked for those from ${asked}`);
  }
  if (status === 416) {
    // There is no more to send: the connection broke behind the last byte, or the file has become shorter.
    const total = sizeOf(/^bytes \*\/(\d+)$/.exec(headers.get("content-range") ?? "")?.[1]);
    if (total === asked) return "complete";
    file.restart(undefined);
    throw new Unreachable(`has ${total ?? "fewer"} bytes, ${asked} are there; it begins anew`);
  }
  if (status === 408 || status === 429 || status >= 500) throw new Unreachable(`the server answers ${status}`);
  if (status === 404 || status === 410)
    throw new DownloadError(
      `${url}: the server answers ${status}: the file is not there any more; get it another way and name its folder with --data-dir`,
    );
  throw new DownloadError(`${url}: the server answers ${status}; is there a proxy that wants a login?`);
}

/** What If-Range may carry: an entity tag that is not weak, else a date. */
function strongValidator(headers: Headers): string | undefined {
  const tag = headers.get("etag");
  return tag !== null && !tag.startsWith("W/") ? tag : (headers.get("last-modified") ?? undefined);
}

const sizeOf = (text: string | null | undefined): number | undefined =>
  /^\d+$/.test(text ?? "") ? Number(text) : undefined;
const said = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
const validatorOf = (part: string): string => `${part}.etag`;

async function* bytesOf({ body }: Response): AsyncGenerator<Uint8Array> {
  if (!body) return;
  try {
    yield* body;
  } catch (cause) {
    throw new Unreachable(`broke off (${said(cause)})`, { cause });
  }
}

/** The file that grows, and beside it what tells which file of the server it is a part of. */
class Part {
  readonly #path: string;
  readonly #file: number;
  readonly #write: NonNullable<DownloadOptions["write"]>;
  size: number;

  constructor(path: string, write: DownloadOptions["write"]) {
    this.#path = path;
    this.#write = write ?? ((file, bytes, offset, length, at) => fs.writeSync(file, bytes, offset, length, at));
    this.#file = this.#attempt(() => {
      fs.mkdirSync(dirname(path), { recursive: true });
      return fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT);
    });
    this.size = fs.fstatSync(this.#file).size;
  }

  get validator(): string | undefined {
    const path = validatorOf(this.#path);
    return existsSync(path) ? fs.readFileSync(path, "utf8") : undefined;
  }

  restart(validator: string | undefined): void {
    this.#attempt(() => {
      // First the bytes: they must never lie there under the name of another file.
      fs.ftruncateSync(this.#file);
      this.size = 0;
      if (validator === undefined) fs.rmSync(validatorOf(this.#path), { force: true });
      else fs.writeFileSync(validatorOf(this.#path), validator);
    });
  }

  append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const taken = this.#attempt(() => this.#write(this.#file, bytes, at, bytes.length - at, this.size));
      if (taken === 0) throw new Error(`${this.#path} could not be written: the disk took no bytes`);
      at += taken;
      this.size += taken;
    }
  }

  sync(): void {
    this.#attempt(() => fs.fsyncSync(this.#file));
  }

  close(): void {
    fs.closeSync(this.#file);
  }

  #attempt<T>(act: () => T): T {
    try {
      return act();
    } catch (cause) {
      const isFull = cause instanceof Error && "code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
      const advice = isFull ? "; the disk is full: free some space and try again" : "";
      throw new Error(`${this.#path} could not be written: ${said(cause)}${advice}`, { cause });
    }
  }
}
