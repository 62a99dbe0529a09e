/** Models by name: downloaded from the Hugging Face hub into the usual cache, or found there. */
import { downloadFile, HubApiError, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { DownloadError } from "../errors/index.ts";
import { type HubCache, isCommit, openHubCache } from "./_hub-cache.ts";
import { isWeights, missingFiles, shardsOf, wantedFiles } from "./_model-files.ts";

/** How far a download is. */
export interface HubProgress {
  /** The file that is being fetched. */
  readonly file: string;
  readonly fileBytes: number;
  readonly fileTotal: number;
  /** Over all files of the model; what was in the cache counts as done. */
  readonly bytes: number;
  readonly total: number;
}

export interface HubOptions {
  /** Folder of models--org--name folders. */
  readonly cacheDir: string;
  readonly token?: string | undefined;
  /** Default https://huggingface.co. */
  readonly endpoint?: string | undefined;
  /** Ask nobody; use what the cache has. */
  readonly offline?: boolean;
  /** Branch, tag or commit; default main. */
  readonly revision?: string | undefined;
  /** False: configuration and tokenizer only. */
  readonly weights?: boolean;
  readonly fetch?: HubFetch;
  readonly onProgress?: (progress: HubProgress) => void;
  /** What a person should know: that the hub was not reachable and the cache is used. */
  readonly onNotice?: (line: string) => void;
  readonly signal?: AbortSignal;
  /** A file that breaks off is taken up again this often (default 5) before the download fails. */
  readonly retries?: number;
  /** Pause before the first of them, doubled each time; default 500. */
  readonly retryDelayMs?: number;
}

export type HubFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/**
 * A local folder with the files of a model or adapter. A path that exists is returned as it is; `org/name` is looked up on the hub, and what the cache lacks is downloaded
 * (a part that is there is continued, and each file is checked against its hash). Throws DownloadError saying what to do.
 */
export async function resolveModel(nameOrPath: string, options: HubOptions): Promise<string> {
  if (fs.existsSync(nameOrPath)) return nameOrPath;
  if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(nameOrPath) || nameOrPath.includes("..") || nameOrPath.includes("--")) {
    throw new DownloadError(`${nameOrPath}: no such folder, and no name of a model on the hub (org/name)`);
  }
  const name = nameOrPath;
  const revision = options.revision ?? "main";
  if (!/^[\w-][\w./-]*$/.test(revision) || revision.split("/").includes(".."))
    throw new DownloadError(`${name}: "${revision}" is no revision`);
  const cache = openHubCache(options.cacheDir, name);
  if (options.offline) return cached(name, revision, cache, options, "downloads are switched off (HF_HUB_OFFLINE)");
  const hub = new Hub(name, options);
  let commit: string;
  try {
    commit = await hub.commitOf(revision);
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    // As the other libraries do: what was downloaded before works without a network.
    const folder = cached(name, revision, cache, options, error.message);
    options.onNotice?.(`${error.message}; using ${folder}`);
    return folder;
  }
  await download(hub, cache, commit, options);
  cache.setCommit(revision, commit);
  return cache.snapshot(commit);
}

/** Options from the variables that all Hugging Face libraries read. Only an app's config has an environment to pass. */
export function hubOptionsFrom(
  env: Readonly<Record<string, string | undefined>>,
): Pick<HubOptions, "cacheDir" | "token" | "endpoint" | "offline"> {
  const isSet = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? "");
  const home = env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface");
  const tokenPath = env.HF_TOKEN_PATH ?? join(home, "token");
  const stored = fs.existsSync(tokenPath) ? fs.readFileSync(tokenPath, "utf8") : "";
  const token = (env.HF_TOKEN ?? env.HUGGING_FACE_HUB_TOKEN ?? stored).trim();
  return {
    cacheDir: env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(home, "hub"),
    token: token === "" ? undefined : token,
    endpoint: env.HF_ENDPOINT?.replace(/\/+$/, ""),
    offline: isSet(env.HF_HUB_OFFLINE) || isSet(env.TRANSFORMERS_OFFLINE),
  };
}

function cached(
  name: string,
  revision: string,
  cache: HubCache,
  { cacheDir, weights = true }: HubOptions,
  why: string,
): string {
  const commit = cache.commitOf(revision);
  const folder = commit === undefined ? undefined : cache.snapshot(commit);
  if (folder === undefined || !fs.existsSync(folder)) {
    throw new DownloadError(
      `${name} (${revision}) is not in the cache ${cacheDir}, and ${why}; download it once with a network, or give a folder`,
    );
  }
  const missing = weights ? missingFiles(folder) : [];
  if (missing.length > 0)
    throw new DownloadError(
      `${name} (${revision}): ${folder} lacks ${missing.join(", ")}, and ${why}; download it again with a network`,
    );
  return folder;
}

async function download(hub: Hub, cache: HubCache, commit: string, options: HubOptions): Promise<void> {
  const files = await hub.files(commit);
  const names = [...files.keys()];
  const wanted = wantedFiles(options.weights === false ? names.filter((name) => !isWeights(name)) : names);
  if (options.weights !== false && wanted.weights.length + wanted.indexes.length === 0) {
    throw new DownloadError(
      `${hub.name}: the repository has no model.safetensors or pytorch_model.bin; is it a model for transformers or PEFT?`,
    );
  }
  const progress = new Progress(options.onProgress);
  const fetchAll = async (names: readonly string[]): Promise<void> => {
    for (const name of names) await fetchFile(hub, cache, commit, files.get(name)!, progress, options);
  };
  const expected = [...wanted.small, ...wanted.indexes, ...wanted.weights].map((name) => files.get(name)!);
  for (const file of expected) progress.expect(file);
  await fetchAll([...wanted.small, ...wanted.indexes]);
  const shards = wanted.indexes.flatMap((index) => {
    const text = fs.readFileSync(join(cache.snapshot(commit), index), "utf8");
    return shardsOf(text) ?? hub.fail(`${index} names no shards, or shards outside its folder`);
  });
  for (const shard of shards) {
    progress.expect(files.get(shard) ?? hub.fail(`${shard} is named by the index, but not in the repository`));
  }
  await fetchAll([...wanted.weights, ...shards]);
}

/** One file of a repository. */
interface RemoteFile {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256 of a large file, SHA-1 of git's blob of a small one: the name of the blob in the cache. */
  readonly etag: string;
}

async function fetchFile(
  hub: Hub,
  cache: HubCache,
  commit: string,
  file: RemoteFile,
  progress: Progress,
  options: HubOptions,
): Promise<void> {
  const blob = cache.blob(file.etag);
  if (fs.existsSync(blob)) progress.skip(file);
  else {
    const partial = `${blob}.incomplete`;
    fs.mkdirSync(dirname(blob), { recursive: true });
    await fetchInto(partial, hub, commit, file, progress, options);
    if (hashOf(partial, file) !== file.etag) {
      fs.rmSync(partial, { force: true });
      hub.fail(`${file.name}: what was downloaded does not have the hash ${file.etag}; it was removed, try again`);
    }
    // Another process may have been faster.
    if (!fs.existsSync(blob)) fs.renameSync(partial, blob);
  }
  cache.link(commit, file.name, file.etag);
}

/**
 * Continues what is there until the file has its size. Bytes are written at their own place: two processes that fetch the same file write the same bytes.
 */
async function fetchInto(
  path: string,
  hub: Hub,
  commit: string,
  file: RemoteFile,
  progress: Progress,
  { retries = 5, retryDelayMs = 500, signal }: HubOptions,
): Promise<void> {
  const output = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT);
  try {
    let have = fs.fstatSync(output).size;
    // A longer file is no part of this one.
    if (have > file.bytes) fs.ftruncateSync(output, (have = 0));
    progress.set(file, have);
    for (let failures = 0; have < file.bytes;) {
      try {
        for await (const chunk of await hub.open(commit, file, have)) {
          // A server that ignores the range sends the file from its beginning: then the hash will not fit.
          const part = chunk.subarray(0, file.bytes - have);
          for (let at = 0; at < part.length;) at += fs.writeSync(output, part, at, part.length - at, have + at);
          have += part.length;
          failures = 0;
          progress.set(file, have);
        }
        if (have < file.bytes) throw new Unreachable(`${file.name} ended after ${have} of ${file.bytes} bytes`);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof Unreachable)) throw error;
        if (failures === retries) {
          throw new DownloadError(
            `${hub.name}: ${error.message}, ${retries + 1} times; what is there (${have} bytes) will be continued next time`,
            { cause: error },
          );
        }
        await pause(retryDelayMs * 2 ** failures++, signal);
      }
    }
    fs.fsyncSync(output);
  } finally {
    fs.closeSync(output);
  }
}

function hashOf(path: string, { etag, bytes }: RemoteFile): string {
  const isSha256 = etag.length === 64;
  const hash = createHash(isSha256 ? "sha256" : "sha1");
  if (!isSha256) hash.update(`blob ${bytes}\0`);
  const buffer = new Uint8Array(1 << 20);
  const file = fs.openSync(path, "r");
  try {
    for (let got = fs.readSync(file, buffer); got > 0; got = fs.readSync(file, buffer))
      hash.update(buffer.subarray(0, got));
  } finally {
    fs.closeSync(file);
  }
  return hash.digest("hex");
}

/** A wait that the signal ends with its reason. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

class Progress {
  readonly #report: HubOptions["onProgress"];
  readonly #done = new Map<string, number>();
  #total = 0;

  constructor(report: HubOptions["onProgress"]) {
    this.#report = report;
  }

  expect({ bytes }: RemoteFile): void {
    this.#total += bytes;
  }

  /** Was there already: counts as done, and is not worth a line. */
  skip({ name, bytes }: RemoteFile): void {
    this.#done.set(name, bytes);
  }

  set({ name, bytes }: RemoteFile, fileBytes: number): void {
    this.#done.set(name, fileBytes);
    const sum = [...this.#done.values()].reduce((a, b) => a + b, 0);
    this.#report?.({ file: name, fileBytes, fileTotal: bytes, bytes: sum, total: this.#total });
  }
}

/** The network did not answer, or broke off: worth another attempt. */
class Unreachable extends Error {
  override name = "Unreachable";
}

/** One repository on the hub, through @huggingface/hub. */
class Hub {
  readonly name: string;
  readonly #options: HubOptions;
  readonly #endpoint: string;
  readonly #common: { hubUrl: string; fetch: typeof fetch; accessToken?: string };

  constructor(name: string, options: HubOptions) {
    this.name = name;
    this.#options = options;
    this.#endpoint = options.endpoint ?? "https://huggingface.co";
    const { fetch: own = fetch, signal, token } = options;
    const withSignal = (input: string | URL | Request, init?: RequestInit) =>
      own(input, signal ? { ...init, signal } : init);
    // The library wants the runtime's whole type, and calls it.
    this.#common = {
      hubUrl: this.#endpoint,
      fetch: Object.assign(withSignal, { preconnect: fetch.preconnect }),
      ...(token ? { accessToken: token } : {}),
    };
  }

  /** Throws Unreachable or DownloadError. */
  async commitOf(revision: string): Promise<string> {
    const { sha } = await this.#ask(
      () => modelInfo({ ...this.#common, name: this.name, revision, additionalFields: ["sha"] }),
      `revision ${revision}`,
    );
    return isCommit(sha) ? sha : this.fail(`the hub gave "${sha}" as its commit`);
  }

  async files(commit: string): Promise<Map<string, RemoteFile>> {
    const entries = await this.#ask(async () => {
      const list: ListFileEntry[] = [];
      for await (const entry of listFiles({ ...this.#common, repo: this.name, recursive: true, revision: commit }))
        list.push(entry);
      return list;
    }, "its list of files");
    const files = new Map<string, RemoteFile>();
    for (const { type, path, size, oid, lfs } of entries) {
      if (type !== "file") continue;
      const etag = lfs?.oid ?? oid ?? "";
      if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) this.fail(`${path} has the hash "${etag}"`);
      files.set(path, { name: path, bytes: lfs?.size ?? size, etag });
    }
    return files;
  }

  /** The bytes of a file from `from` on. Throws Unreachable where another attempt may help. */
  async open(commit: string, { name, bytes }: RemoteFile, from: number): Promise<AsyncIterable<Uint8Array>> {
    const blob = await this.#ask(
      () => downloadFile({ ...this.#common, repo: this.name, path: name, revision: commit, xet: false }),
      name,
    );
    if (!blob) return this.fail(`${name} is not in the repository`);
    if (blob.size !== bytes) this.fail(`${name} has ${blob.size} bytes, the list of files says ${bytes}`);
    return readable(blob.slice(from, bytes).stream(), name);
  }

  fail(problem: string): never {
    throw new DownloadError(`${this.name}: ${problem}`);
  }

  async #ask<T>(act: () => Promise<T>, what: string): Promise<T> {
    try {
      return await act();
    } catch (cause) {
      this.#options.signal?.throwIfAborted();
      if (cause instanceof HubApiError) {
        if (cause.statusCode >= 500 || cause.statusCode === 429)
          throw new Unreachable(`${this.#endpoint} answers ${cause.statusCode}`, { cause });
        throw new DownloadError(`${this.name}: ${what}: ${this.#advice(cause.statusCode)}`, { cause });
      }
      const said = cause instanceof Error ? cause.message : String(cause);
      if (said.includes("must start with 'hf_'"))
        throw new DownloadError(`${this.name}: the token (HF_TOKEN) is none of the hub: it must start with hf_`, {
          cause,
        });
      throw new Unreachable(`${this.#endpoint} cannot be reached (${said})`, { cause });
    }
  }

  #advice(status: number): string {
    const hasToken = this.#options.token !== undefined;
    switch (status) {
      case 401:
        return hasToken
          ? "the hub answers 401: the token (HF_TOKEN) is not valid, or there is no such model"
          : "the hub answers 401: there is no such model, or it is private or gated; check the name, or set HF_TOKEN";
      case 403:
        return `the hub answers 403: access is restricted; accept the terms at ${this.#endpoint}/${this.name} and use a token (HF_TOKEN) of that account`;
      case 404:
        return "the hub answers 404: no such model or revision; check the name";
      default:
        return `the hub answers ${status}`;
    }
  }
}

/** A stream whose failures are Unreachable. */
async function* readable(stream: ReadableStream<Uint8Array>, name: string): AsyncGenerator<Uint8Array> {
  try {
    yield* stream;
  } catch (cause) {
    throw new Unreachable(`${name} broke off (${cause instanceof Error ? cause.message : String(cause)})`, { cause });
  }
}
