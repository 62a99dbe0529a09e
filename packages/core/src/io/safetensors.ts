/** Safetensors files: https://huggingface.co/docs/safetensors. Eight bytes of header length, a JSON header, then the tensors' bytes. */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { CheckpointError } from "../errors/index.ts";
import { writeFileAtomic } from "./atomic.ts";
import { DTYPE_BYTES, type FileDType, isFileDType } from "./dtype.ts";

export interface TensorInfo {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Byte range in the file. */
  readonly begin: number;
  readonly end: number;
}

export interface TensorData {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Little-endian, row-major. */
  readonly bytes: Uint8Array;
}

/** The reference implementation's own limit. */
const MAX_HEADER = 100_000_000;

/** An open file; tensors are read from disk when asked for, so no second copy of the file is held. */
export class SafetensorsFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  #file: number;

  constructor(
    path: string,
    file: number,
    header: { tensors: Map<string, TensorInfo>; metadata: Record<string, string> },
  ) {
    this.path = path;
    this.#file = file;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
  }

  /** Throws CheckpointError if there is no such tensor. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (!info) throw new CheckpointError(`${this.path}: no tensor ${name}`);
    return info;
  }

  read(name: string): Uint8Array {
    const { begin, end } = this.info(name);
    return this.readRange(name, 0, end - begin);
  }

  /** Bytes [from, to) of a tensor. */
  readRange(name: string, from: number, to: number): Uint8Array {
    const { begin, end } = this.info(name);
    if (from < 0 || to > end - begin || from > to) {
      throw new CheckpointError(`${this.path}: tensor ${name} has ${end - begin} bytes, asked for ${from} to ${to}`);
    }
    return readExactly(this.#file, this.path, begin + from, to - from);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Opens a file and checks its whole header. Throws CheckpointError naming file, tensor and rule. */
export function openSafetensors(path: string): SafetensorsFile {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (cause) {
    throw new CheckpointError(`${path}: cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
  try {
    const size = statSync(path).size;
    if (size < 8) throw new CheckpointError(`${path}: has ${size} bytes, too short for a safetensors header`);
    const length = new DataView(readExactly(file, path, 0, 8).buffer).getBigUint64(0, true);
    if (length > BigInt(MAX_HEADER) || length > BigInt(size - 8)) {
      throw new CheckpointError(`${path}: header says it has ${length} bytes, the file has ${size}`);
    }
    const text = readExactly(file, path, 8, Number(length));
    return new SafetensorsFile(path, file, parseHeader(path, text, 8 + Number(length), size));
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

function readExactly(file: number, path: string, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  while (at < length) {
    const got = readSync(file, bytes, at, length - at, position + at);
    if (got === 0) throw new CheckpointError(`${path}: ends at byte ${position + at}, expected ${position + length}`);
    at += got;
  }
  return bytes;
}

function parseHeader(path: string, text: Uint8Array, dataBegin: number, fileSize: number) {
  let header: unknown;
  try {
    const decoded = new TextDecoder("utf-8", { fatal: true }).decode(text);
    header = JSON.parse(decoded);
    // JSON.parse keeps the last of two equal keys: count them in the text of the top level.
    const duplicate = duplicateKey(decoded);
    if (duplicate !== undefined) throw new Error(`key ${duplicate} appears twice`);
  } catch (cause) {
    throw new CheckpointError(
      `${path}: the header is not valid JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw new CheckpointError(`${path}: the header is not an object`);
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") metadata = checkMetadata(path, value);
    else tensors.set(name, checkTensor(path, name, value, dataBegin, fileSize));
  }
  let at = dataBegin;
  for (const [name, { begin, end }] of [...tensors].toSorted(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== at)
      throw new CheckpointError(`${path}: tensor ${name} begins at byte ${begin}, the one before it ends at ${at}`);
    at = end;
  }
  if (at !== fileSize)
    throw new CheckpointError(`${path}: the last tensor ends at byte ${at}, the file has ${fileSize}`);
  return { tensors, metadata };
}

function checkMetadata(path: string, value: unknown): Record<string, string> {
  const isMap =
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((v) => typeof v === "string");
  if (!isMap) throw new CheckpointError(`${path}: __metadata__ must map strings to strings`);
  return value as Record<string, string>;
}

function checkTensor(path: string, name: string, value: unknown, dataBegin: number, fileSize: number): TensorInfo {
  const where = `${path}: tensor ${name}`;
  if (typeof value !== "object" || value === null) throw new CheckpointError(`${where} is not an object`);
  const { dtype, shape, data_offsets: offsets } = value as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  if (!isFileDType(dtype)) throw new CheckpointError(`${where} has the unknown dtype ${JSON.stringify(dtype)}`);
  const isSize = (n: unknown): n is number => typeof n === "number" && Number.isSafeInteger(n) && n >= 0;
  if (!Array.isArray(shape) || !shape.every(isSize))
    throw new CheckpointError(`${where} has the shape ${JSON.stringify(shape)}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    throw new CheckpointError(`${where} has the data_offsets ${JSON.stringify(offsets)}`);
  }
  const [begin, end] = [dataBegin + offsets[0]!, dataBegin + offsets[1]!];
  if (end > fileSize) throw new CheckpointError(`${where} ends at byte ${end}, the file has ${fileSize}`);
  const bytes = shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]);
  if (end - begin !== bytes)
    throw new CheckpointError(
      `${where} [${shape}] ${dtype} needs ${bytes} bytes, its data_offsets give ${end - begin}`,
    );
  return { dtype, shape, begin, end };
}

/** The first key that appears twice in the top-level object of valid JSON text. */
function duplicateKey(json: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (const token of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]]/gs)) {
    const [text] = token;
    if (text === "{" || text === "[") depth++;
    else if (text === "}" || text === "]") depth--;
    else if (depth === 1 && /^\s*:/.test(json.slice(token.index + text.length, token.index + text.length + 16))) {
      const key = String(JSON.parse(text));
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
}

/** The reference's order of dtypes: widest alignment first. */
const DTYPE_ORDER: readonly FileDType[] = [
  "U64",
  "I64",
  "F64",
  "F32",
  "U32",
  "I32",
  "BF16",
  "F16",
  "U16",
  "I16",
  "F8_E4M3",
  "F8_E5M2",
  "I8",
  "U8",
  "BOOL",
];

/**
 * Writes a file as the reference library does: tensors by falling dtype width, then by name; header padded with spaces to a multiple of 8. The file at `path`
 * is replaced at once or not at all.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const order = [...tensors].toSorted(
    ([a, x], [b, y]) => DTYPE_ORDER.indexOf(x.dtype) - DTYPE_ORDER.indexOf(y.dtype) || (a < b ? -1 : a > b ? 1 : 0),
  );
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let at = 0;
  for (const [name, { dtype, shape, bytes }] of order) {
    const need = shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]);
    if (bytes.length !== need)
      throw new CheckpointError(
        `${path}: tensor ${name} [${shape}] ${dtype} needs ${need} bytes, was given ${bytes.length}`,
      );
    header[name] = { dtype, shape, data_offsets: [at, at + need] };
    at += need;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const padded = new Uint8Array(Math.ceil(json.length / 8) * 8).fill(0x20);
  padded.set(json);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(padded.length), true);
  writeFileAtomic(path, [length, padded, ...order.map(([, t]) => t.bytes)]);
}
