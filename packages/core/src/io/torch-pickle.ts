/** Weights that `torch.save` wrote (zip, torch 1.6 and later), read without running anything of the file. */
import { CheckpointError, suggest } from "../errors/index.ts";
import { PickleError, PickleGlobal, type PickleObject, readPickle, type PickleValue } from "./_pickle.ts";
import { openRandomFile, type RandomFile } from "./_read.ts";
import type { TensorShape } from "./_safetensors-header.ts";
import { readZipDirectory, type ZipEntry } from "./_zip.ts";
import { DTYPE_BYTES, type FileDType, tensorBytes } from "./dtype.ts";
import type { TensorFile } from "./tensor-file.ts";

const storages: Readonly<Record<string, FileDType>> = {
  "torch DoubleStorage": "F64",
  "torch FloatStorage": "F32",
  "torch HalfStorage": "F16",
  "torch BFloat16Storage": "BF16",
  "torch LongStorage": "I64",
  "torch IntStorage": "I32",
  "torch ShortStorage": "I16",
  "torch CharStorage": "I8",
  "torch ByteStorage": "U8",
  "torch BoolStorage": "BOOL",
  "torch ComplexFloatStorage": "C64",
};
/** The dtypes that have no storage class of their own come as bytes and the name of the dtype. */
const dtypes: Readonly<Record<string, FileDType>> = {
  "torch float8_e4m3fn": "F8_E4M3",
  "torch float8_e5m2": "F8_E5M2",
  "torch float8_e4m3fnuz": "F8_E4M3FNUZ",
  "torch float8_e5m2fnuz": "F8_E5M2FNUZ",
  "torch uint16": "U16",
  "torch uint32": "U32",
  "torch uint64": "U64",
};
const calls = [
  "collections OrderedDict",
  "torch._utils _rebuild_tensor_v2",
  "torch._utils _rebuild_tensor_v3",
  "torch._utils _rebuild_parameter",
];
const allowed: ReadonlySet<string> = new Set([
  ...calls,
  ...Object.keys(storages),
  ...Object.keys(dtypes),
  "torch.storage UntypedStorage",
]);

interface Storage extends PickleObject {
  readonly kind: "storage";
  /** Undefined: untyped bytes. */
  readonly dtype: FileDType | undefined;
  readonly key: string;
  readonly elements: number;
}

interface Tensor extends PickleObject, TensorShape {
  readonly kind: "tensor";
  readonly storage: string;
  readonly storageBytes: number;
  /** In elements. */
  readonly offset: number;
  readonly strides: readonly number[];
}

/** data.pkl holds names and shapes only: a bigger one is damaged or not a file of weights. */
const MAX_PICKLE_BYTES = 100_000_000;

/**
 * Opens a file of named tensors (`pytorch_model.bin`, `adapter_model.bin`). Only the opcodes and names that tensors need are understood; anything else, and anything that
 * points outside the file, is a CheckpointError naming the file and the tensor. Entries of the dictionary that are numbers or text are left out.
 */
export function openTorchPickle(path: string): TensorFile {
  const file = openRandomFile(path);
  try {
    checkMagic(file);
    const entries = readZipDirectory(file);
    const { prefix, pickle } = findPickle(file, entries);
    const order = entries.get(`${prefix}byteorder`);
    if (order && readEntry(file, order, 16) === "big")
      throw new CheckpointError(`${path}: was written on a big-endian machine; save it again on another`);
    const tensors = readTensors(path, pickle);
    const places = new Map<string, ZipEntry>();
    for (const [name, tensor] of tensors)
      places.set(name, placeOf(path, name, tensor, entries.get(`${prefix}data/${tensor.storage}`)));
    return tensorFile(file, tensors, places);
  } catch (error) {
    file.close();
    throw error;
  }
}

function checkMagic(file: RandomFile): void {
  const magic = new Uint8Array(Math.min(4, file.size));
  file.read(0, magic, "its first bytes");
  if (magic[0] === 0x50 && magic[1] === 0x4b) return;
  const isOld = magic[0] === 0x80 || (magic[0] === 0x2e && magic[1] === 0x2f);
  const advice = isOld
    ? "a pickle of torch before 1.6; load it and torch.save it again, or convert it to safetensors"
    : "not a file that torch.save wrote";
  throw new CheckpointError(`${file.path}: ${advice}`);
}

function findPickle(file: RandomFile, entries: ReadonlyMap<string, ZipEntry>): { prefix: string; pickle: Uint8Array } {
  const found = [...entries.values()].filter(({ name }) => name === "data.pkl" || /^[^/]*\/data\.pkl$/.test(name));
  const [entry] = found;
  if (!entry || found.length > 1)
    throw new CheckpointError(
      `${file.path}: has ${found.length} entries data.pkl, expected one; not a file that torch.save wrote?`,
    );
  if (entry.bytes > MAX_PICKLE_BYTES)
    throw new CheckpointError(`${file.path}: data.pkl has ${entry.bytes} bytes, at most ${MAX_PICKLE_BYTES} are read`);
  const pickle = new Uint8Array(entry.bytes);
  file.read(entry.begin, pickle, "data.pkl");
  return { prefix: entry.name.slice(0, -"data.pkl".length), pickle };
}

function readEntry(file: RandomFile, { begin, bytes, name }: ZipEntry, limit: number): string {
  const text = new Uint8Array(Math.min(bytes, limit));
  file.read(begin, text, name);
  return new TextDecoder().decode(text).trim();
}

function readTensors(path: string, pickle: Uint8Array): Map<string, Tensor> {
  let root: PickleValue;
  try {
    root = readPickle(pickle, { isAllowed: (name) => allowed.has(name), call, load });
  } catch (cause) {
    if (!(cause instanceof PickleError)) throw cause;
    throw new CheckpointError(`${path}: data.pkl: ${cause.message}`, { cause });
  }
  if (!(root instanceof Map)) throw new CheckpointError(`${path}: holds no dictionary of tensors`);
  const tensors = new Map<string, Tensor>();
  for (const [name, value] of root) {
    if (typeof name !== "string") throw new CheckpointError(`${path}: a key of its dictionary is no text`);
    if (isTensor(value)) tensors.set(name, value);
    else if (typeof value === "object" && value !== null)
      throw new CheckpointError(`${path}: ${name} is no tensor; save the state dict alone`);
  }
  return tensors;
}

/** BINPERSID: ("storage", torch.FloatStorage, key, location, elements). */
function load(id: PickleValue): Storage {
  const [word, type, key, , elements] = Array.isArray(id) ? id : [];
  if (word !== "storage" || !(type instanceof PickleGlobal) || typeof key !== "string" || !isSize(elements))
    throw new PickleError("a persistent id that is no storage");
  const dtype = storages[type.name];
  if (!dtype && type.name !== "torch.storage UntypedStorage") throw new PickleError(`${type.name} is no storage`);
  return { kind: "storage", dtype, key, elements };
}

function call(name: string, args: readonly PickleValue[]): PickleValue {
  if (name === "collections OrderedDict") {
    if (args.length === 0) return new Map();
    throw new PickleError("an OrderedDict made from other data");
  }
  if (name === "torch._utils _rebuild_parameter") {
    const [data] = args;
    if (isTensor(data)) return data;
    throw new PickleError("a parameter that is no tensor");
  }
  if (name === "torch._utils _rebuild_tensor_v2" || name === "torch._utils _rebuild_tensor_v3") {
    const [storage, offset, shape, strides, , , type] = args;
    if (
      !isStorage(storage) ||
      !isSize(offset) ||
      !isSizes(shape) ||
      !isSizes(strides) ||
      strides.length !== shape.length
    ) {
      throw new PickleError("a tensor whose storage, offset, size or stride are none");
    }
    const dtype = name.endsWith("v2") ? storage.dtype : type instanceof PickleGlobal ? dtypes[type.name] : undefined;
    if (!dtype) throw new PickleError("a tensor of unknown dtype");
    const storageBytes = storage.elements * (storage.dtype ? DTYPE_BYTES[storage.dtype] : 1);
    const tensor: Tensor = { kind: "tensor", dtype, shape, strides, offset, storage: storage.key, storageBytes };
    return tensor;
  }
  throw new PickleError(`a call of ${name.replace(" ", ".")}`);
}

/** The zip entry of a tensor's storage, once it is sure that every element lies inside. */
function placeOf(
  path: string,
  name: string,
  { dtype, shape, strides, offset, storage, storageBytes }: Tensor,
  entry: ZipEntry | undefined,
): ZipEntry {
  const fail = (problem: string): never => {
    throw new CheckpointError(`${path}: tensor ${name}: ${problem}`);
  };
  if (!entry) return fail(`its data ${storage} is missing`);
  if (entry.bytes !== storageBytes) fail(`its storage should have ${storageBytes} bytes, the file has ${entry.bytes}`);
  const bytes = tensorBytes(shape, dtype);
  // A view that repeats elements could be of any size.
  if (bytes === undefined || bytes > storageBytes)
    return fail(`${dtype} of shape [${shape}] does not fit in a storage of ${storageBytes} bytes`);
  const last = shape.includes(0) ? -1 : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, offset);
  if (!((last + 1) * DTYPE_BYTES[dtype] <= storageBytes))
    fail(`strides [${strides}] from ${offset} lead beyond its storage`);
  return entry;
}

function tensorFile(
  file: RandomFile,
  tensors: ReadonlyMap<string, Tensor>,
  places: ReadonlyMap<string, ZipEntry>,
): TensorFile {
  const find = (name: string): Tensor => {
    const tensor = tensors.get(name);
    if (!tensor) throw new CheckpointError(`${file.path}: no tensor ${name}${suggest(name, tensors.keys())}`);
    return tensor;
  };
  const readRange = (name: string, from: number, to: number): Uint8Array<ArrayBuffer> => {
    const { dtype, shape, strides, offset } = find(name);
    const width = DTYPE_BYTES[dtype];
    const bytes = tensorBytes(shape, dtype)!;
    const { begin } = places.get(name)!;
    const what = `tensor ${name}`;
    if (!(Number.isSafeInteger(from) && Number.isSafeInteger(to) && 0 <= from && from <= to && to <= bytes))
      throw new CheckpointError(`${file.path}: ${what} has ${bytes} bytes, asked for [${from}, ${to})`);
    if (isContiguous(shape, strides)) {
      const part = new Uint8Array(to - from);
      if (to > from) file.read(begin + offset * width + from, part, what);
      return part;
    }
    const target = new Uint8Array(bytes);
    const last = shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, 0);
    const source = new Uint8Array((last + 1) * width);
    file.read(begin + offset * width, source, what);
    gather(source, target, shape, strides, width);
    return target.slice(from, to);
  };
  const read = (name: string): Uint8Array<ArrayBuffer> => {
    const { dtype, shape } = find(name);
    return readRange(name, 0, tensorBytes(shape, dtype)!);
  };
  return { path: file.path, tensors, info: find, read, readRange, close: () => file.close() };
}

/** Row-major; the stride along a dimension of one element means nothing. */
function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== step) return false;
    step *= shape[i]!;
  }
  return true;
}

function gather(
  source: Uint8Array,
  target: Uint8Array,
  shape: readonly number[],
  strides: readonly number[],
  width: number,
): void {
  const index = shape.map(() => 0);
  let from = 0;
  for (let to = 0; to < target.length; to += width) {
    target.set(source.subarray(from * width, (from + 1) * width), to);
    for (let i = shape.length - 1; i >= 0; i--) {
      index[i]!++;
      from += strides[i]!;
      if (index[i]! < shape[i]!) break;
      from -= strides[i]! * shape[i]!;
      index[i] = 0;
    }
  }
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize);
}

function isKind(value: PickleValue | undefined, kind: string): boolean {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === kind;
}

function isStorage(value: PickleValue | undefined): value is Storage {
  return isKind(value, "storage");
}

function isTensor(value: PickleValue | undefined): value is Tensor {
  return isKind(value, "tensor");
}
