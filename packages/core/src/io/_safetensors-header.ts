/** The header of a safetensors file: u64 length, JSON, padding with spaces to 8 bytes. https://github.com/huggingface/safetensors */
import { CheckpointError } from "../errors/index.ts";
import { JsonNumber, parseStrictJson, StrictJsonError, type StrictJson } from "./_strict-json.ts";
import { type FileDType, fileDTypes, isFileDType, tensorBytes } from "./dtype.ts";

/** A tensor's place in a file. */
export interface TensorInfo {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly begin: number;
  /** One past the last byte. */
  readonly end: number;
}

export interface SafetensorsHeader {
  /** The file's `__metadata__`; empty if it has none. */
  readonly metadata: Readonly<Record<string, string>>;
  /** In order of their place in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** The library's own limit: more is an attack or a damaged file. */
const MAX_HEADER_BYTES = 100_000_000;
export const LENGTH_BYTES = 8;

/** Reads the length field. `fileBytes`: size of the whole file. Throws CheckpointError if the header cannot fit. */
export function headerLength(path: string, field: Uint8Array, fileBytes: number): number {
  if (fileBytes < LENGTH_BYTES || field.length < LENGTH_BYTES) {
    throw new CheckpointError(
      `${path}: not a safetensors file, it has ${fileBytes} bytes and the header's length needs 8`,
    );
  }
  const length = new DataView(field.buffer, field.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new CheckpointError(
      `${path}: header claims ${length} bytes, the format allows ${MAX_HEADER_BYTES}; not a safetensors file, or damaged`,
    );
  }
  if (length > BigInt(fileBytes - LENGTH_BYTES)) {
    throw new CheckpointError(
      `${path}: header claims ${length} bytes, the file has ${fileBytes - LENGTH_BYTES} after the length; truncated?`,
    );
  }
  return Number(length);
}

/**
 * Parses a header and checks all that the reference checks (known dtypes, sizes equal to shape times dtype, tensors adjacent without gaps or overlap, nothing
 * after the last) and that no key occurs twice. Throws CheckpointError naming `path` and the tensor.
 */
export function parseHeader(path: string, header: Uint8Array, fileBytes: number): SafetensorsHeader {
  const root = parseJson(path, header);
  const dataBegin = LENGTH_BYTES + header.length;
  const dataBytes = fileBytes - dataBegin;
  let metadata: Record<string, string> = {};
  const found: [string, TensorInfo][] = [];
  for (const [name, entry] of root) {
    if (name === "__metadata__") metadata = parseMetadata(path, entry);
    else found.push([name, parseTensor(path, name, entry, dataBegin, dataBytes)]);
  }
  found.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let at = dataBegin;
  let before = "the header";
  for (const [name, { begin, end }] of found) {
    if (begin !== at) {
      const what = begin < at ? "overlaps" : `leaves a gap of ${begin - at} bytes after`;
      throw new CheckpointError(
        `${path}: tensor ${name} begins at byte ${begin} and ${what} ${before}, which ends at ${at}`,
      );
    }
    at = end;
    before = `tensor ${name}`;
  }
  if (at !== fileBytes) {
    throw new CheckpointError(`${path}: tensors end at byte ${at}, the file has ${fileBytes}`);
  }
  return { metadata, tensors: new Map(found) };
}

function parseJson(path: string, header: Uint8Array): Map<string, StrictJson> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    throw new CheckpointError(`${path}: header is not UTF-8; not a safetensors file, or damaged`, { cause });
  }
  if (!text.startsWith("{"))
    throw new CheckpointError(`${path}: header does not begin with "{"; not a safetensors file?`);
  let root: StrictJson;
  try {
    root = parseStrictJson(text);
  } catch (cause) {
    if (!(cause instanceof StrictJsonError)) throw cause;
    const what = cause.key === undefined ? "header is not valid JSON" : "header lists a tensor or field twice";
    throw new CheckpointError(`${path}: ${what}: ${cause.message}`, { cause });
  }
  if (!(root instanceof Map)) throw new CheckpointError(`${path}: header is not a JSON object`);
  return root;
}

function parseMetadata(path: string, entry: StrictJson): Record<string, string> {
  if (!(entry instanceof Map)) throw new CheckpointError(`${path}: __metadata__ is not an object`);
  const metadata = new Map<string, string>();
  for (const [key, value] of entry) {
    if (typeof value !== "string") throw new CheckpointError(`${path}: __metadata__.${key} is not a string`);
    metadata.set(key, value);
  }
  return Object.fromEntries(metadata);
}

function parseTensor(path: string, name: string, entry: StrictJson, dataBegin: number, dataBytes: number): TensorInfo {
  const fail = (problem: string): never => {
    throw new CheckpointError(`${path}: tensor ${name}: ${problem}`);
  };
  if (!(entry instanceof Map)) return fail("its entry is not an object");
  for (const key of entry.keys()) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") fail(`unknown field ${JSON.stringify(key)}`);
  }
  const dtype = entry.get("dtype");
  if (typeof dtype !== "string") return fail("dtype is missing or not a string");
  if (!isFileDType(dtype)) return fail(`unknown dtype ${JSON.stringify(dtype)}; known: ${fileDTypes.join(", ")}`);
  const shape = sizes(entry.get("shape")) ?? fail("shape is not a list of sizes");
  const offsets = sizes(entry.get("data_offsets"));
  if (offsets?.length !== 2) return fail("data_offsets is not a pair of byte positions");
  const [begin, end] = offsets as [number, number]; // length checked above
  if (begin > end) fail(`begins at data byte ${begin}, after its end ${end}`);
  if (end > dataBytes) fail(`ends at data byte ${end}, the file has ${dataBytes}; truncated?`);
  const bytes = tensorBytes(shape, dtype);
  if (bytes === undefined) return fail(`${dtype} of shape [${shape}] has no exact size in bytes`);
  if (bytes !== end - begin) fail(`${dtype} of shape [${shape}] needs ${bytes} bytes, its offsets span ${end - begin}`);
  return { dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function sizes(value: StrictJson | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const list: number[] = [];
  for (const item of value) {
    const size = item instanceof JsonNumber ? item.toSize() : undefined;
    if (size === undefined) return undefined;
    list.push(size);
  }
  return list;
}

/** What the writer needs to know of a tensor before its bytes. */
export interface TensorShape {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
}

export interface HeaderLayout {
  /** Length field, JSON and padding. */
  readonly bytes: Uint8Array;
  /** Tensors in the order of their data. */
  readonly order: readonly { readonly name: string; readonly bytes: number }[];
  /** Size of the whole file. */
  readonly fileBytes: number;
}

/**
 * The header exactly as safetensors 0.8.0 writes it: tensors by dtype (widest first, in the order of its enum), then by name in code points; metadata first, in
 * the order given (the library's own order is that of a hash map), left out if empty. Throws CheckpointError for a name or shape the format cannot hold.
 */
export function layOutHeader(
  path: string,
  tensors: ReadonlyMap<string, TensorShape>,
  metadata: Readonly<Record<string, string>>,
): HeaderLayout {
  const rank = new Map(fileDTypes.map((name, i) => [name, i]));
  const sorted = [...tensors].toSorted(
    ([aName, a], [bName, b]) => rank.get(b.dtype)! - rank.get(a.dtype)! || compareCodePoints(aName, bName),
  );
  const fields: string[] = [];
  const order: { name: string; bytes: number }[] = [];
  if (Object.keys(metadata).length > 0) {
    const entries = Object.entries(metadata).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    fields.push(`"__metadata__":{${entries.join(",")}}`);
  }
  let at = 0;
  for (const [name, { dtype, shape }] of sorted) {
    if (name === "__metadata__") throw new CheckpointError(`${path}: a tensor cannot be named __metadata__`);
    if (!name.isWellFormed())
      throw new CheckpointError(`${path}: tensor name ${JSON.stringify(name)} is not valid Unicode`);
    const bytes = tensorBytes(shape, dtype);
    if (bytes === undefined) {
      throw new CheckpointError(`${path}: tensor ${name}: ${dtype} of shape [${shape}] has no exact size in bytes`);
    }
    fields.push(
      `${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(",")}],"data_offsets":[${at},${at + bytes}]}`,
    );
    order.push({ name, bytes });
    at += bytes;
  }
  const json = new TextEncoder().encode(`{${fields.join(",")}}`);
  const length = Math.ceil(json.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw new CheckpointError(`${path}: header would have ${length} bytes, the format allows ${MAX_HEADER_BYTES}`);
  }
  const bytes = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, LENGTH_BYTES);
  return { bytes, order, fileBytes: bytes.length + at };
}

/** Order of UTF-8 bytes, which is the order of code points; JavaScript's own is that of UTF-16 units. */
function compareCodePoints(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const xHigh = x >= 0xd800 && x <= 0xdfff;
    const yHigh = y >= 0xd800 && y <= 0xdfff;
    if (xHigh === yHigh) return x - y;
    return xHigh ? 1 : -1;
  }
  return a.length - b.length;
}
