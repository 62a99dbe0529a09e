/** Reads and writes safetensors files. Reading is by ranges: a file is never whole in memory. Format: https://huggingface.co/docs/safetensors */
import { CheckpointError, suggest } from "../errors/index.ts";
import {
  type HeaderLayout,
  headerLength,
  layOutHeader,
  LENGTH_BYTES,
  parseHeader,
  type SafetensorsHeader,
  type TensorInfo,
  type TensorShape,
} from "./_safetensors-header.ts";
import { openRandomFile, type RandomFile } from "./_read.ts";
import { type AtomicOptions, openAtomic, writeFileAtomic } from "./atomic.ts";

export type { TensorInfo, TensorShape } from "./_safetensors-header.ts";

/** A tensor with its bytes: little-endian, row-major. */
export interface TensorData extends TensorShape {
  readonly bytes: Uint8Array;
}

/** An open file; tensors are read from disk when asked for, so no second copy of the file is held. Close it. */
export class SafetensorsFile {
  readonly path: string;
  /** In order of their place in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__`; empty if there is none. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #file: RandomFile;

  constructor(file: RandomFile, header: SafetensorsHeader) {
    this.path = file.path;
    this.#file = file;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /** Throws CheckpointError, with near names, if there is no such tensor. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) throw new CheckpointError(`${this.path}: no tensor ${name}${suggest(name, this.tensors.keys())}`);
    return info;
  }

  /** All bytes of a tensor in a buffer of its own. Throws CheckpointError for an unknown name, or if the file became shorter. */
  read(name: string): Uint8Array<ArrayBuffer> {
    const { begin, end } = this.info(name);
    return this.readRange(name, 0, end - begin);
  }

  /** Bytes [from, to) of a tensor. */
  readRange(name: string, from: number, to: number): Uint8Array<ArrayBuffer> {
    this.#check(name, from, to);
    const bytes = new Uint8Array(to - from);
    this.readInto(name, from, bytes);
    return bytes;
  }

  /** Fills `target` with the bytes of a tensor from its byte `from` on: for uploading through one staging buffer. */
  readInto(name: string, from: number, target: Uint8Array): void {
    const { begin } = this.#check(name, from, from + target.length);
    this.#file.read(begin + from, target, `tensor ${name}`);
  }

  close(): void {
    this.#file.close();
  }

  #check(name: string, from: number, to: number): TensorInfo {
    const info = this.info(name);
    const size = info.end - info.begin;
    if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= size) return info;
    throw new CheckpointError(`${this.path}: tensor ${name} has ${size} bytes, asked for [${from}, ${to})`);
  }
}

/** Opens a file and checks its whole header. Throws CheckpointError naming file, tensor and rule. */
export function openSafetensors(path: string): SafetensorsFile {
  const file = openRandomFile(path);
  try {
    const field = new Uint8Array(Math.min(LENGTH_BYTES, file.size));
    file.read(0, field, "header");
    const json = new Uint8Array(headerLength(path, field, file.size));
    file.read(LENGTH_BYTES, json, "header");
    return new SafetensorsFile(file, parseHeader(path, json, file.size));
  } catch (error) {
    file.close();
    throw error;
  }
}

export interface SafetensorsData {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorData>;
}

/** A file that is already in memory (an upload); the tensors' bytes are views of `file`. Throws CheckpointError naming `label` and the tensor. */
export function parseSafetensors(label: string, file: Uint8Array): SafetensorsData {
  const length = headerLength(label, file.subarray(0, LENGTH_BYTES), file.length);
  const header = parseHeader(label, file.subarray(LENGTH_BYTES, LENGTH_BYTES + length), file.length);
  const tensors = new Map<string, TensorData>();
  for (const [name, { dtype, shape, begin, end }] of header.tensors) {
    tensors.set(name, { dtype, shape, bytes: file.subarray(begin, end) });
  }
  return { metadata: header.metadata, tensors };
}

/**
 * Writes a file byte for byte as the safetensors library 0.8.0 lays it out, whatever the order of `tensors`; it replaces the file at `path` at once or not at all.
 * PyTorch libraries look for the metadata `{ format: "pt" }`. Throws CheckpointError if a tensor's bytes do not fit its shape and dtype.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
  options: AtomicOptions = {},
): void {
  writeFileAtomic(path, fileChunks(path, tensors, layOutHeader(path, tensors, metadata)), options);
}

/** The same file in memory. */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const layout = layOutHeader("safetensors", tensors, metadata);
  const file = new Uint8Array(layout.fileBytes);
  let at = 0;
  for (const chunk of fileChunks("safetensors", tensors, layout)) {
    file.set(chunk, at);
    at += chunk.length;
  }
  return file;
}

/** As `writeSafetensors`, fetching each tensor's bytes when their turn comes: one tensor at a time is in memory. */
export async function streamSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorShape>,
  metadata: Readonly<Record<string, string>>,
  fetchBytes: (name: string) => Uint8Array | Promise<Uint8Array>,
): Promise<void> {
  const layout = layOutHeader(path, tensors, metadata);
  const file = openAtomic(path);
  try {
    file.write(layout.bytes);
    for (const { name, bytes } of layout.order) file.write(checkBytes(path, name, bytes, await fetchBytes(name)));
  } catch (error) {
    file.abort();
    throw error;
  }
  file.commit();
}

function* fileChunks(path: string, tensors: ReadonlyMap<string, TensorData>, layout: HeaderLayout) {
  yield layout.bytes;
  for (const { name, bytes } of layout.order) yield checkBytes(path, name, bytes, tensors.get(name)!.bytes);
}

function checkBytes(path: string, name: string, need: number, bytes: Uint8Array): Uint8Array {
  if (bytes.length === need) return bytes;
  throw new CheckpointError(
    `${path}: tensor ${name} needs ${need} bytes by its shape and dtype, was given ${bytes.length}`,
  );
}
