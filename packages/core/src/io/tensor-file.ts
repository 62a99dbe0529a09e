/** A file of named tensors, whatever its format. */
import { CheckpointError } from "../errors/index.ts";
import type { TensorShape } from "./_safetensors-header.ts";
import { openSafetensors } from "./safetensors.ts";
import { openTorchPickle } from "./torch-pickle.ts";

/** An open file; tensors are read from disk when asked for. Close it. */
export interface TensorFile {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorShape>;
  /** Throws CheckpointError, with near names, if there is no such tensor. */
  info(name: string): TensorShape;
  /** Little-endian, row-major, in a buffer of its own. */
  read(name: string): Uint8Array<ArrayBuffer>;
  /** Bytes [from, to) of a tensor as `read` gives them: for what need not be whole in memory. */
  readRange(name: string, from: number, to: number): Uint8Array<ArrayBuffer>;
  close(): void;
}

/** Opens a file by its ending: .safetensors, or .bin, .pt and .pth of torch. Throws CheckpointError. */
export function openTensorFile(path: string): TensorFile {
  if (path.endsWith(".safetensors")) return openSafetensors(path);
  if (/\.(bin|pt|pth)$/.test(path)) return openTorchPickle(path);
  throw new CheckpointError(`${path}: weights are .safetensors, or .bin, .pt or .pth of torch`);
}
