/** Quantised weights in files: tensor NAME holds the codes, tensors NAME.* beside it the scales (docs/quantisation.md). */
import {
  BLOCK,
  GROUP,
  GROUP_WORDS,
  type MatrixSource,
  PIECE,
  quantizeElements,
  type QuantizedType,
  quantizeScales,
  weightBytes,
  weightStorages,
} from "@graft/kernels";
import { CheckpointError } from "../errors/index.ts";
import { type Checkpoint, type TensorShape, toFloat32 } from "../io/index.ts";

/** Every tensor that a quantised weight is in files, by what follows its name. */
export function quantizedTensors(type: QuantizedType, shape: readonly number[]): ReadonlyMap<string, TensorShape> {
  const [rows, columns] = shape as readonly [number, number];
  if (type !== "nf4") {
    const scales = weightStorages[type].scaled === "row" ? rows : columns;
    return new Map<string, TensorShape>([
      ["", { dtype: "I8", shape }],
      [".scale", { dtype: "F32", shape: [scales] }],
    ]);
  }
  const count = rows * columns;
  const blocks = Math.ceil(count / BLOCK);
  const groups = Math.ceil(blocks / GROUP);
  return new Map<string, TensorShape>([
    ["", { dtype: "U8", shape: [Math.ceil(count / 2)] }],
    [".absmax", { dtype: "F8_E4M3", shape: [blocks] }],
    [".absmax_scale", { dtype: "F32", shape: [groups] }],
    [".absmax_offset", { dtype: "F32", shape: [groups] }],
  ]);
}

/** Bytes of one of the tensors that hold scales, from the scales as the device has them. */
export function scaleTensor(
  type: QuantizedType,
  part: string,
  shape: readonly number[],
  scales: Uint32Array,
): Uint8Array {
  if (type !== "nf4") return new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength);
  const size = quantizedTensors(type, shape).get(part)!.shape[0]!;
  if (part === ".absmax") {
    const codes = new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength);
    return Uint8Array.from({ length: size }, (_, i) => codes[codeAt(i)]!);
  }
  const field = part === ".absmax_scale" ? 0 : 1;
  return new Uint8Array(Uint32Array.from({ length: size }, (_, group) => scales[group * GROUP_WORDS + field]!).buffer);
}

/** Byte of a block's code among the scales on the device. */
function codeAt(block: number): number {
  return (Math.floor(block / GROUP) * GROUP_WORDS + 2) * 4 + (block % GROUP);
}

/** Scales from the tensors that hold them, as the device has them. Throws CheckpointError naming a tensor that is missing, of another shape or dtype, or has a scale that is no finite number. */
export function readScales(
  checkpoint: Checkpoint,
  name: string,
  type: QuantizedType,
  shape: readonly number[],
): Uint32Array {
  for (const [part, want] of quantizedTensors(type, shape)) {
    const { dtype, shape: has } = checkpoint.info(name + part);
    if (dtype !== want.dtype || `${has}` !== `${want.shape}`) {
      throw new CheckpointError(
        `${checkpoint.path}: tensor ${name}${part} is ${dtype} [${has}], ${type} of a [${shape}] weight has ${want.dtype} [${want.shape}]; is the file of the same quantization as config.json?`,
      );
    }
  }
  const floats = (part: string): Float32Array => {
    const tensor = name + part;
    const values = toFloat32(
      checkpoint.read(tensor),
      checkpoint.info(tensor).dtype,
      `${checkpoint.path}: tensor ${tensor}`,
    );
    return finite(values, 0, `${checkpoint.path}: tensor ${tensor}`);
  };
  if (type !== "nf4") return new Uint32Array(floats(".scale").slice().buffer);
  const words = new Uint32Array(weightBytes(type, shape).scales / 4);
  const [asFloats, codes] = [new Float32Array(words.buffer), new Uint8Array(words.buffer)];
  floats(".absmax"); // for its check: codes are copied as they are
  for (const [block, code] of checkpoint.read(`${name}.absmax`).entries()) codes[codeAt(block)] = code;
  for (const [group, scale] of floats(".absmax_scale").entries()) asFloats[group * GROUP_WORDS] = scale;
  for (const [group, offset] of floats(".absmax_offset").entries()) asFloats[group * GROUP_WORDS + 1] = offset;
  return words;
}

/** A plain tensor of a checkpoint, read in pieces. Its reads throw CheckpointError for a value that is no finite number. */
function matrixOf(checkpoint: Checkpoint, name: string, shape: readonly number[]): MatrixSource {
  const [rows, columns] = shape as readonly [number, number];
  const { dtype } = checkpoint.info(name);
  const width = checkpoint.bytesOf(name) / (rows * columns);
  const where = `${checkpoint.path}: tensor ${name}`;
  return {
    rows,
    columns,
    read: (begin, end) =>
      finite(toFloat32(checkpoint.readRange(name, begin * width, end * width), dtype, where), begin, where),
  };
}

function finite(values: Float32Array, begin: number, where: string): Float32Array {
  const bad = values.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0)
    throw new CheckpointError(
      `${where}: value ${begin + bad} is ${values[bad]}, which has no place in a quantised weight`,
    );
  return values;
}

/** Scales and codes of a plain tensor; codes piece by piece, each with the byte where it begins. */
export function quantizeTensor(
  checkpoint: Checkpoint,
  name: string,
  type: QuantizedType,
  shape: readonly number[],
): { readonly scales: Uint32Array; codes(): Generator<{ readonly at: number; readonly bytes: Uint8Array }> } {
  const source = matrixOf(checkpoint, name, shape);
  const { columns } = source;
  const count = source.rows * columns;
  const scales = quantizeScales(type, source);
  return {
    scales,
    *codes() {
      for (let begin = 0; begin < count; begin += PIECE) {
        const values = source.read(begin, Math.min(count, begin + PIECE));
        const { buffer } = quantizeElements(type, values, { begin, columns, scales });
        yield { at: (begin * weightStorages[type].bits) / 8, bytes: new Uint8Array(buffer) };
      }
    },
  };
}
