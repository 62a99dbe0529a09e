/** What a run's numbers depend on, as SHA-256 in hexadecimal. */
import { findPromptTemplate } from "@graft/core/data";
import { CheckpointError } from "@graft/core/errors";
import { companionFiles, readJson, writeFileAtomic } from "@graft/core/io";
import { hashOf } from "@graft/eval";
import type { Device } from "@graft/kernels";
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { config } from "../config.ts";
import { counter } from "../progress.ts";

export interface HashOptions {
  /** Where the hashes of large files are kept, by path, size and time of change. */
  readonly cacheFile?: string;
  /** Told how far a long hash is. */
  readonly log?: (line: string) => void;
}

/**
 * Of a model folder: over the names and hashes of its config, tokenizer files and weights, whatever the folder is called. Throws CheckpointError naming what is missing.
 * A large file is read once: its hash is kept in the cache folder.
 */
export async function modelHash(folder: string, options: HashOptions = {}): Promise<string> {
  const { cacheFile = join(config.cacheDir, "hashes.json"), log = () => undefined } = options;
  const names = [...new Set(["config.json", ...companionFiles(folder), ...weightFiles(folder)])];
  const hash = createHash("sha256");
  for (const name of names.toSorted()) hash.update(`${name} ${await cachedHash(join(folder, name), cacheFile, log)}\n`);
  return hash.digest("hex");
}

/** Of an adapter folder: over the bytes of its config and its weights. The adapter's version is its first 16 digits. Throws CheckpointError naming what is missing. */
export function adapterHash(folder: string): Promise<string> {
  const weights = ["adapter_model.safetensors", "adapter_model.bin"].find((name) => existsSync(join(folder, name)));
  return streamHash(["adapter_config.json", weights ?? "adapter_model.safetensors"].map((name) => join(folder, name)));
}

/** Of a file's bytes. Throws CheckpointError if it is not there. */
export function fileHash(path: string): Promise<string> {
  return streamHash([path]);
}

/** Of a prompt template: over what it makes of a row with an input and of one without. Throws UnknownName. */
export function templateHash(name: string): string {
  const template = findPromptTemplate(name);
  const prompts = ["input", ""].map((input) => template.prompt({ instruction: "instruction", input }));
  return hashOf(JSON.stringify([...prompts, template.separator, template.stops]));
}

/** Over the texts of all kernels that a device has made in this process, in whatever order. */
export function kernelTextHash({ pipelineTexts }: Pick<Device, "pipelineTexts">): string {
  return hashOf(pipelineTexts.map(hashOf).toSorted().join("\n"));
}

/** The files that loading takes: whole ones before shards, safetensors before pickles. */
function weightFiles(folder: string): string[] {
  for (const whole of ["model.safetensors", "pytorch_model.bin"]) {
    if (existsSync(join(folder, whole))) return [whole];
    const index = `${whole}.index.json`;
    if (!existsSync(join(folder, index))) continue;
    const { weight_map } = readJson(
      join(folder, index),
      z.looseObject({ weight_map: z.record(z.string(), z.string()) }),
    );
    return [index, ...new Set(Object.values(weight_map))];
  }
  throw new CheckpointError(`${folder}: has neither model.safetensors nor pytorch_model.bin, nor shards of them`);
}

async function streamHash(
  paths: readonly string[],
  onBytes: (bytes: number) => void = () => undefined,
): Promise<string> {
  const hash = createHash("sha256");
  for (const path of paths) {
    if (!existsSync(path)) throw new CheckpointError(`${path}: no such file`);
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
      const bytes = chunk as Buffer; // a stream without an encoding
      hash.update(bytes);
      onBytes(bytes.length);
    }
  }
  return hash.digest("hex");
}

/** Smaller files are read each time. */
const LARGE_BYTES = 1 << 20;

const cacheSchema = z.record(z.string(), z.object({ size: z.string(), changed: z.string(), sha256: z.string() }));

async function cachedHash(path: string, cacheFile: string, log: (line: string) => void): Promise<string> {
  if (!existsSync(path)) throw new CheckpointError(`${path}: no such file`);
  const key = realpathSync(path);
  const before = stampOf(key);
  if (BigInt(before.size) < LARGE_BYTES) return streamHash([path]);
  const known = readCache(cacheFile)[key];
  if (known && known.size === before.size && known.changed === before.changed) return known.sha256;
  const show = counter(`hashing ${path}: MB`, log, { isPassing: true });
  const total = Math.ceil(Number(before.size) / 1e6);
  let done = 0;
  const sha256 = await streamHash([path], (bytes) => show(Math.floor((done += bytes) / 1e6), total));
  show(total, total);
  const after = stampOf(key);
  // Written to while it was read: this hash belongs to neither state.
  if (after.size !== before.size || after.changed !== before.changed)
    throw new CheckpointError(`${path}: was changed while it was read; try again when it is whole`);
  // Read again: another process may have added to it. Files that are gone are forgotten.
  const kept = Object.entries(readCache(cacheFile)).filter(([name]) => existsSync(name));
  writeFileAtomic(cacheFile, [JSON.stringify({ ...Object.fromEntries(kept), [key]: { ...before, sha256 } }, null, 1)]);
  return sha256;
}

function stampOf(path: string): { size: string; changed: string } {
  const { size, mtimeNs } = statSync(path, { bigint: true });
  return { size: String(size), changed: String(mtimeNs) };
}

/** Empty for a file that is damaged or of another version: all of it can be computed again. */
function readCache(path: string): z.output<typeof cacheSchema> {
  if (!existsSync(path)) return {};
  try {
    return cacheSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return {};
  }
}
