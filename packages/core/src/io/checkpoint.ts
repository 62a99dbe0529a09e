/** The weights of a Hugging Face folder as one set of named tensors, whatever files they lie in. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CheckpointError } from "../errors/index.ts";
import type { FileDType } from "./dtype.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";

export interface Checkpoint {
  readonly path: string;
  names(): readonly string[];
  has(name: string): boolean;
  /** Throws CheckpointError for a tensor that is not there. */
  info(name: string): { readonly dtype: FileDType; readonly shape: readonly number[] };
  read(name: string): Uint8Array;
  close(): void;
}

/** Opens `model.safetensors`, or the shards of `model.safetensors.index.json`. Throws CheckpointError naming what is missing. */
export function openCheckpoint(folder: string): Checkpoint {
  if (!existsSync(folder)) throw new CheckpointError(`${folder}: no such folder`);
  const single = join(folder, "model.safetensors");
  const index = join(folder, "model.safetensors.index.json");
  if (existsSync(index)) return fromFiles(folder, openShards(folder, index));
  if (existsSync(single)) {
    const file = openSafetensors(single);
    return fromFiles(folder, new Map([...file.tensors.keys()].map((name) => [name, file])));
  }
  throw new CheckpointError(`${folder}: has neither model.safetensors nor model.safetensors.index.json`);
}

function openShards(folder: string, index: string): Map<string, SafetensorsFile> {
  let weightMap: unknown;
  try {
    weightMap = (JSON.parse(readFileSync(index, "utf8")) as { weight_map?: unknown }).weight_map;
  } catch (cause) {
    throw new CheckpointError(`${index}: is not valid JSON`, { cause });
  }
  if (typeof weightMap !== "object" || weightMap === null) throw new CheckpointError(`${index}: has no weight_map`);
  const files = new Map<string, SafetensorsFile>();
  const tensors = new Map<string, SafetensorsFile>();
  for (const [name, shard] of Object.entries(weightMap)) {
    // A shard's name comes from a file: it must not lead out of the folder.
    if (typeof shard !== "string" || /[/\\]|^\.\.?$/.test(shard))
      throw new CheckpointError(`${index}: tensor ${name} lies in ${JSON.stringify(shard)}`);
    const file = files.get(shard) ?? openSafetensors(join(folder, shard));
    files.set(shard, file);
    if (!file.tensors.has(name)) throw new CheckpointError(`${index}: says ${shard} holds ${name}, it does not`);
    tensors.set(name, file);
  }
  return tensors;
}

function fromFiles(path: string, tensors: ReadonlyMap<string, SafetensorsFile>): Checkpoint {
  const fileOf = (name: string): SafetensorsFile => {
    const file = tensors.get(name);
    if (!file) throw new CheckpointError(`${path}: the checkpoint has no tensor ${name}`);
    return file;
  };
  return {
    path,
    names: () => [...tensors.keys()],
    has: (name) => tensors.has(name),
    info: (name) => fileOf(name).info(name),
    read: (name) => fileOf(name).read(name),
    close: () => {
      for (const file of new Set(tensors.values())) file.close();
    },
  };
}
