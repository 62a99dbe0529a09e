/** The weights of a Hugging Face folder as one set of named tensors, whatever files they lie in. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { CheckpointError, suggest } from "../errors/index.ts";
import { type FileDType, tensorBytes } from "./dtype.ts";
import { openTensorFile, type TensorFile } from "./tensor-file.ts";

export interface Checkpoint {
  readonly path: string;
  names(): readonly string[];
  has(name: string): boolean;
  /** Throws CheckpointError, with near names, for a tensor that is not there. */
  info(name: string): { readonly dtype: FileDType; readonly shape: readonly number[] };
  /** Size of a tensor in bytes. */
  bytesOf(name: string): number;
  /** Little-endian, row-major, in a buffer of its own. */
  read(name: string): Uint8Array;
  /** Bytes [from, to) of a tensor. */
  readRange(name: string, from: number, to: number): Uint8Array;
  close(): void;
}

/** In the order in which transformers looks for them. */
const layouts = [
  { single: "model.safetensors", index: "model.safetensors.index.json" },
  { single: "pytorch_model.bin", index: "pytorch_model.bin.index.json" },
];

/**
 * Opens `model.safetensors` or the shards of its index, else `pytorch_model.bin` or its shards. Throws CheckpointError naming the folder, shard or tensor that
 * is missing. `nameOf` gives the name under which a stored tensor is known here.
 */
export function openCheckpoint(folder: string, nameOf: (stored: string) => string = (stored) => stored): Checkpoint {
  if (!existsSync(folder)) throw new CheckpointError(`${folder}: no such folder`);
  if (!statSync(folder).isDirectory()) throw new CheckpointError(`${folder}: is no folder`);
  for (const { single, index } of layouts) {
    if (existsSync(join(folder, single))) {
      const file = openTensorFile(join(folder, single));
      return fromFiles(folder, new Map([...file.tensors.keys()].map((name) => [name, file])), nameOf);
    }
    if (existsSync(join(folder, index))) return fromFiles(folder, openShards(folder, join(folder, index)), nameOf);
  }
  const wanted = layouts.flatMap(({ single, index }) => [single, index]).join(", ");
  throw new CheckpointError(`${folder}: has no weights; looked for ${wanted}`);
}

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

function openShards(folder: string, index: string): Map<string, TensorFile> {
  const weightMap = readIndex(index);
  const files = new Map<string, TensorFile>();
  const tensors = new Map<string, TensorFile>();
  try {
    for (const [name, shard] of weightMap) {
      // A shard's name comes from a file: it must not lead out of the folder.
      if (/[/\\]|^\.\.?$/.test(shard))
        throw new CheckpointError(`${index}: tensor ${name} lies in ${JSON.stringify(shard)}, outside the folder`);
      let file = files.get(shard);
      if (!file) {
        const path = join(folder, shard);
        if (!existsSync(path))
          throw new CheckpointError(`${path}: this shard of ${index} is missing; download it again`);
        files.set(shard, (file = openTensorFile(path)));
      }
      if (!file.tensors.has(name)) throw new CheckpointError(`${index}: says that ${shard} holds ${name}, it does not`);
      tensors.set(name, file);
    }
  } catch (error) {
    for (const file of files.values()) file.close();
    throw error;
  }
  return tensors;
}

function readIndex(path: string): Map<string, string> {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new CheckpointError(`${path}: is not valid JSON`, { cause });
  }
  const { data } = indexSchema.safeParse(json);
  if (!data) throw new CheckpointError(`${path}: has no weight_map from tensor to file`);
  return new Map(Object.entries(data.weight_map));
}

function fromFiles(
  path: string,
  files: ReadonlyMap<string, TensorFile>,
  nameOf: (stored: string) => string,
): Checkpoint {
  const tensors = new Map<string, { readonly file: TensorFile; readonly stored: string }>();
  for (const [stored, file] of files) {
    const name = nameOf(stored);
    const other = tensors.get(name);
    if (other) {
      for (const open of new Set(files.values())) open.close();
      throw new CheckpointError(`${path}: tensors ${other.stored} and ${stored} are both ${name}`);
    }
    tensors.set(name, { file, stored });
  }
  const find = (name: string) => {
    const found = tensors.get(name);
    if (!found)
      throw new CheckpointError(`${path}: the checkpoint has no tensor ${name}${suggest(name, tensors.keys())}`);
    return found;
  };
  const info = (name: string) => {
    const { file, stored } = find(name);
    return file.info(stored);
  };
  return {
    path,
    names: () => [...tensors.keys()],
    has: (name) => tensors.has(name),
    info,
    bytesOf(name) {
      const { dtype, shape } = info(name);
      return tensorBytes(shape, dtype)!; // the file was checked when it was opened
    },
    read(name) {
      const { file, stored } = find(name);
      return file.read(stored);
    },
    readRange(name, from, to) {
      const { file, stored } = find(name);
      return file.readRange(stored, from, to);
    },
    close: () => {
      for (const file of new Set(files.values())) file.close();
    },
  };
}
