/** Adapters of files and of memory for a base on a device, with what a list says of them. */
import type { AdapterLoader, HostAdapter, VersionInfo } from "@graft/core/engine";
import { CheckpointError } from "@graft/core/errors";
import type { BaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { createHash } from "node:crypto";
import { createReadStream, type ReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import {
  adapterVersion,
  bindAdapter,
  loadAdapter,
  type LoadedAdapter,
  loadSteps,
  openAdapterFile,
  readAdapterConfig,
  weightsPath,
} from "./adapter.ts";
import type { Base, BoundMethod } from "./method.ts";

const PIECE_MS = 4;

export interface OpenedAdapter {
  readonly info: VersionInfo;
  readonly weights: AdapterWeights;
}

/** Reads PEFT folders for an engine: its `read` throws what loadAdapter throws, and CheckpointError for files that cannot be read or change meanwhile. */
export function adapterLoader(model: BaseModel, base: Base): AdapterLoader {
  return {
    async read(path) {
      const { loaded, version } = await readFiles(path, base);
      return onHost(model, loaded, path, version);
    },
  };
}

/** Of all memory, what the values of an adapter that somebody hands in may take at the most. */
const MAX_MEMORY_SHARE = 1 / 4;

/**
 * What `adapterLoader` would say of a folder, found without a device; for folders that somebody hands in: also throws CheckpointError for values that are not finite, and,
 * before they are read, for more of them than memory holds (a small file may ask for many that follow from its config).
 */
export async function checkAdapter(
  path: string,
  base: Base,
  maxBytes = Math.floor(totalmem() * MAX_MEMORY_SHARE),
): Promise<VersionInfo> {
  const bytes = boundBytes(path, base);
  if (!(bytes <= maxBytes))
    throw new CheckpointError(`${path}: its values take ${bytes} bytes, this machine takes adapters up to ${maxBytes}`);
  const { loaded, version } = await readFiles(path, base);
  await inPieces(finiteSteps(loaded, path));
  return infoOf(loaded, path, version);
}

/** What loadAdapter does, in pieces: the event loop has its turns. Throws what it throws, and CheckpointError for files that change meanwhile. */
export async function readAdapter(path: string, base: Base): Promise<LoadedAdapter> {
  return (await readFiles(path, base)).loaded;
}

/** Throws what reading the config and the file's directory throws. */
function boundBytes(path: string, base: Base): number {
  const config = readAdapterConfig(path);
  const file = openAdapterFile(path);
  try {
    const where = join(path, "adapter_config.json");
    return 4 * countOf(bindAdapter(config, base, where, "file", (key) => file.tensors.get(key)?.shape));
  } finally {
    file.close();
  }
}

function* finiteSteps({ values, stored }: LoadedAdapter, path: string): Generator<void, void> {
  for (const [key, tensor] of values) {
    yield;
    const at = tensor.findIndex((x) => !Number.isFinite(x));
    if (at >= 0)
      throw new CheckpointError(
        `${weightsPath(path)}: tensor ${stored?.get(key)?.name ?? key} has ${tensor[at]} at ${at}; values must be finite`,
      );
  }
}

/** The values and the hash of the same bytes. Throws CheckpointError for files that cannot be read or change meanwhile. */
async function readFiles(path: string, base: Base): Promise<{ loaded: LoadedAdapter; version: string }> {
  try {
    const before = await stamp(path);
    const loaded = await inPieces(loadSteps(path, base));
    const version = await hashFiles(path);
    if ((await stamp(path)) !== before)
      throw new CheckpointError(`${path}: its files changed while they were read; load it again`);
    return { loaded, version };
  } catch (cause) {
    if (!isSystemError(cause)) throw cause;
    throw new CheckpointError(`${path}: cannot be read: ${cause.message}`, { cause });
  }
}

/** Uploads a PEFT folder, or an adapter that is in memory: its version is then a hash of its config and values. Throws what loading throws. */
export function openAdapter(model: BaseModel, base: Base, source: string | LoadedAdapter): OpenedAdapter {
  const { info, upload } =
    typeof source === "string"
      ? onHost(model, loadAdapter(source, base), source, adapterVersion(source))
      : onHost(model, source, "", versionOf(source));
  return { info, weights: upload() };
}

function onHost(model: BaseModel, loaded: LoadedAdapter, path: string, version: string): HostAdapter {
  const { bound, values } = loaded;
  return {
    info: infoOf(loaded, path, version),
    upload: () => new AdapterWeights(model.device, bound, values, path || "adapter"),
  };
}

function infoOf({ bound }: LoadedAdapter, path: string, version: string): VersionInfo {
  const parameters = countOf(bound);
  return {
    version,
    path,
    method: bound.method,
    parameters,
    bytes: 4 * parameters,
    virtualTokens: bound.virtualTokens ?? 0,
  };
}

/** Numbers of all parameters. */
function countOf({ parameters }: BoundMethod): number {
  return parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

const filesOf = (folder: string): string[] => [join(folder, "adapter_config.json"), weightsPath(folder)];

/** Runs steps to their end; what waits in the event loop gets its turn every few milliseconds. */
async function inPieces<T>(steps: Generator<void, T>): Promise<T> {
  for (let since = performance.now(); ;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() - since < PIECE_MS) continue;
    await new Promise<void>((resume) => setImmediate(resume));
    since = performance.now();
  }
}

/** adapterVersion in pieces, too. */
async function hashFiles(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const path of filesOf(folder)) {
    const stream: ReadStream & AsyncIterable<Buffer> = createReadStream(path, { highWaterMark: 1 << 20 });
    for await (const chunk of stream) hash.update(chunk);
  }
  return hash.digest("hex").slice(0, 16);
}

/** Another one after each write to the files. Empty where there are none: loading says so. */
async function stamp(folder: string): Promise<string> {
  try {
    const stats = await Promise.all(filesOf(folder).map((path) => stat(path, { bigint: true })));
    return stats.map(({ ino, size, mtimeNs }) => `${ino} ${size} ${mtimeNs}`).join();
  } catch {
    return "";
  }
}

const isSystemError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && typeof (error as NodeJS.ErrnoException).code === "string";

function versionOf({ config, values }: LoadedAdapter): string {
  const hash = createHash("sha256").update(JSON.stringify(config));
  for (const [key, tensor] of values)
    hash.update(key).update(new Uint8Array(tensor.buffer, tensor.byteOffset, tensor.byteLength));
  return hash.digest("hex").slice(0, 16);
}
