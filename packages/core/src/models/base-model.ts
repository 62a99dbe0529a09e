/** A frozen base on a device: its config and its weights, one copy for every adapter, training job and request. */
import {
  dequantize,
  type Device,
  type DeviceBuffer,
  isQuantized,
  type QuantizedType,
  weightBytes,
} from "@graft/kernels";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { CheckpointError, ConfigError } from "../errors/index.ts";
import { bytesOf, type DType, sizeOf, type Spec } from "../graph/graph.ts";
import {
  type Checkpoint,
  type FileDType,
  checkWeightDType,
  encodeBF16,
  encodeF16,
  openCheckpoint,
  readJson,
  toFloat32,
} from "../io/index.ts";
import type { ParameterSpec } from "../nn/context.ts";
import type { ModelDefinition, ModelSizes } from "./model.ts";
import { type Quantization, quantizedTypes, readQuantization } from "./quantization.ts";
import { quantizedTensors, quantizeTensor, readScales } from "./quantized-tensors.ts";
import { modelFor } from "./registry.ts";
import type { TraceModel } from "./trace.ts";

/** "auto" keeps f16 and bf16 matrices as the checkpoint stores them. */
export type WeightDType = "auto" | "f32" | "f16" | "bf16";

export interface DeviceTensor extends Spec {
  readonly buffer: DeviceBuffer;
}

export interface BaseModel {
  readonly path: string;
  readonly definition: ModelDefinition;
  readonly config: ModelSizes;
  readonly device: Device;
  readonly weights: ReadonlyMap<string, DeviceTensor>;
  readonly generation: GenerationDefaults;
  destroy(): void;
}

/** End, padding and beginning tokens, from generation_config.json or config.json. */
export interface GenerationDefaults {
  readonly eosTokenIds: readonly number[];
  readonly bosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
}

const tokenIds = z.union([z.int(), z.array(z.int())]).nullish();
const generationSchema = z.looseObject({
  eos_token_id: tokenIds,
  bos_token_id: z.int().nullish(),
  pad_token_id: z.int().nullish(),
});

/** Architecture and sizes of a folder, without its weights. Throws ConfigError or UnknownName. */
export function readModelConfig(folder: string): {
  definition: ModelDefinition;
  config: ModelSizes;
  generation: GenerationDefaults;
  /** How the folder's weights are stored; undefined if they are plain. */
  quantization: Quantization | undefined;
} {
  if (!existsSync(folder))
    throw new CheckpointError(`${folder}: no such folder; give a folder with config.json, or a hub name`);
  if (!statSync(folder).isDirectory())
    throw new CheckpointError(`${folder}: is a file; a model is a folder with config.json`);
  const path = join(folder, "config.json");
  if (!existsSync(path)) {
    const what = existsSync(join(folder, "adapter_config.json"))
      ? "is an adapter; give its base as the model, and this folder as the adapter"
      : "is no model folder, it has no config.json";
    throw new CheckpointError(`${folder}: ${what}`);
  }
  const { json, definition, config, quantization } = readConfigFile(path);
  const generationPath = join(folder, "generation_config.json");
  const own = generationSchema.parse(json);
  const file: z.output<typeof generationSchema> = existsSync(generationPath)
    ? readJson(generationPath, generationSchema)
    : {};
  const eos = file.eos_token_id ?? own.eos_token_id ?? [];
  return {
    definition,
    config,
    quantization,
    generation: {
      eosTokenIds: Array.isArray(eos) ? eos : [eos],
      bosTokenId: file.bos_token_id ?? own.bos_token_id ?? undefined,
      padTokenId: file.pad_token_id ?? own.pad_token_id ?? undefined,
    },
  };
}

/** The weights of a folder under the names of `definition`, also where the file was saved from the model without its output layer. */
export function openModelCheckpoint(folder: string, definition: ModelDefinition, config: ModelSizes): Checkpoint {
  const known = new Set(definition.parameters(config).map((p) => p.name));
  const belongs = (name: string) => known.has(name) || definition.isIgnored(config, name);
  return openCheckpoint(folder, (stored) => {
    const whole = definition.basePrefix + stored;
    return !belongs(stored) && belongs(whole) ? whole : stored;
  });
}

const configSchema = z.looseObject({
  model_type: z.string(),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  quantization_config: z.unknown().optional(),
});

/** A config.json alone: the architecture, its sizes, and how its weights are stored, by its own account. Throws ConfigError or UnknownName. */
export function readConfigFile(path: string) {
  const json = readJson(path, configSchema);
  const definition = modelFor(json.model_type, path);
  const named = { float16: "F16", bfloat16: "BF16" } as const;
  const stored: FileDType = named[(json.dtype ?? json.torch_dtype) as keyof typeof named] ?? "F32";
  const config = definition.parseConfig(json, path);
  return { json, definition, config, stored, quantization: readQuantization(json, path) };
}

/**
 * Loads a Hugging Face folder onto the device in pieces of a few MB: the host never holds a whole matrix. Matrices keep or take `dtype`; vectors are f32. With
 * `quantization`, linear weights are quantised on the way; those of a folder that is quantised are taken as they are, and the option must agree ("none" never does).
 * Throws CheckpointError naming a tensor that is missing, of the wrong shape, or not known, ConfigError where folder and option differ.
 */
export function loadBaseModel(
  device: Device,
  folder: string,
  options: {
    readonly dtype?: WeightDType;
    readonly quantization?: Quantization | "none" | undefined;
    readonly onTensor?: (done: number, total: number) => void;
  } = {},
): BaseModel {
  const { definition, config, generation, quantization: present } = readModelConfig(folder);
  const quantization = agreedQuantization(present, options.quantization, folder);
  const checkpoint = openModelCheckpoint(folder, definition, config);
  const weights = new Map<string, DeviceTensor>();
  const destroy = (): void => {
    for (const { buffer } of weights.values()) buffer.destroy();
    weights.clear();
  };
  try {
    const parameters = definition.parameters(config);
    const types = quantization ? quantizedTypes({ definition, config }, quantization, folder) : NONE;
    const partsOf = (name: string, shape: readonly number[]): readonly string[] => {
      const type = present && types.get(name);
      return type ? [...quantizedTensors(type, shape).keys()] : [""];
    };
    const known = new Set(parameters.flatMap((p) => partsOf(p.name, p.shape).map((part) => p.name + part)));
    const unknown = checkpoint.names().filter((name) => !known.has(name) && !definition.isIgnored(config, name));
    if (unknown.length > 0) {
      throw new CheckpointError(
        `${folder}: ${unknown.length} tensors do not belong to a ${definition.modelType} of this config.json, the first is ${unknown[0]}; are both of the same model?`,
      );
    }
    for (const [i, { name, shape }] of parameters.entries()) {
      const type = types.get(name);
      const tensor = type && { shape, dtype: type };
      if (tensor && present) weights.set(name, uploadCodes(device, checkpoint, name, tensor));
      else {
        const info = checkpoint.info(name);
        checkWeightDType(info.dtype, `${folder}: tensor ${name}`);
        if (`${info.shape}` !== `${shape}`) {
          throw new CheckpointError(`${folder}: tensor ${name} is [${info.shape}], config.json says [${shape}]`);
        }
        const uploaded = tensor
          ? uploadQuantized(device, checkpoint, name, tensor)
          : upload(device, checkpoint, name, shape, options.dtype ?? "auto");
        weights.set(name, uploaded);
      }
      options.onTensor?.(i + 1, parameters.length);
    }
  } catch (error) {
    destroy();
    throw error;
  } finally {
    checkpoint.close();
  }
  return { path: folder, definition, config, device, weights, generation, destroy };
}

const NONE: ReadonlyMap<string, QuantizedType> = new Map();

/** What a model is in its files and what was asked for, as one. Throws ConfigError, beginning with `where`, if they differ. */
export function agreedQuantization(
  present: Quantization | undefined,
  wanted: Quantization | "none" | undefined,
  where: string,
): Quantization | undefined {
  if (!present) return wanted === "none" ? undefined : wanted;
  if (wanted === undefined || (wanted !== "none" && wanted.method === present.method)) return present;
  const asked = wanted === "none" ? "none" : wanted.method;
  throw new ConfigError(
    `${where}: its weights are ${present.method} in the files, --quantization ${asked} needs the model they were made from`,
  );
}

interface QuantizedSpec {
  readonly shape: readonly number[];
  readonly dtype: QuantizedType;
}

/** Quantises a plain tensor on its way. */
function uploadQuantized(device: Device, checkpoint: Checkpoint, name: string, spec: QuantizedSpec): DeviceTensor {
  const { scales, codes } = quantizeTensor(checkpoint, name, spec.dtype, spec.shape);
  return filled(device, name, spec, (buffer) => {
    for (const { at, bytes } of codes()) device.write(buffer, bytes, at);
    device.write(buffer, scales, weightBytes(spec.dtype, spec.shape).scalesAt);
  });
}

/** Takes a tensor that is quantised in the files. */
function uploadCodes(device: Device, checkpoint: Checkpoint, name: string, spec: QuantizedSpec): DeviceTensor {
  const scales = readScales(checkpoint, name, spec.dtype, spec.shape);
  return filled(device, name, spec, (buffer) => {
    const bytes = checkpoint.bytesOf(name);
    for (let begin = 0; begin < bytes; begin += PIECE)
      device.write(buffer, checkpoint.readRange(name, begin, Math.min(bytes, begin + PIECE)), begin);
    device.write(buffer, scales, weightBytes(spec.dtype, spec.shape).scalesAt);
  });
}

/** A tensor in a buffer of its own, which is gone if filling it fails. */
function filled(device: Device, name: string, spec: Spec, fill: (buffer: DeviceBuffer) => void): DeviceTensor {
  const buffer = device.createBuffer(bytesOf(spec), name);
  try {
    fill(buffer);
  } catch (error) {
    buffer.destroy();
    throw error;
  }
  return { shape: spec.shape, dtype: spec.dtype, buffer };
}

function upload(
  device: Device,
  checkpoint: Checkpoint,
  name: string,
  shape: readonly number[],
  wanted: WeightDType,
): DeviceTensor {
  const { dtype: stored } = checkpoint.info(name);
  const dtype = deviceDType(stored, shape, wanted);
  const isAsStored = (stored === "F16" && dtype === "f16") || (stored === "BF16" && dtype === "bf16");
  const elements = sizeOf(shape);
  const [fileWidth, deviceWidth] = [checkpoint.bytesOf(name) / elements, dtype === "f32" ? 4 : 2];
  return filled(device, name, { shape, dtype }, (buffer) => {
    for (let begin = 0; begin < elements; begin += PIECE) {
      const end = Math.min(elements, begin + PIECE);
      const bytes = checkpoint.readRange(name, begin * fileWidth, end * fileWidth);
      const where = `${checkpoint.path}: tensor ${name}`;
      const data = isAsStored ? bytes : encode(toFloat32(bytes, stored, where), dtype);
      device.write(buffer, data, begin * deviceWidth);
    }
  });
}

/** Elements of a tensor that are on the host at once. */
const PIECE = 2 ** 20;

/** How the device stores a weight that a file stores as `stored`. */
export function deviceDType(stored: FileDType, shape: readonly number[], wanted: WeightDType): DType {
  // Norm weights and biases are small and enter sums directly.
  if (shape.length < 2) return "f32";
  if (wanted !== "auto") return wanted;
  return stored === "F16" ? "f16" : stored === "BF16" ? "bf16" : "f32";
}

function encode(values: Float32Array, dtype: DType): Float32Array | Uint16Array {
  if (dtype === "f16") return encodeF16(values);
  if (dtype === "bf16") return encodeBF16(values);
  return values;
}

/** Reads a weight back as f32, whatever its storage; of a quantised one what its codes stand for. */
export async function readWeight(model: BaseModel, name: string): Promise<Float32Array> {
  const weight = model.weights.get(name);
  if (!weight) throw new ConfigError(`${model.path}: no weight ${name}`);
  const bytes = new Uint8Array(await model.device.read(weight.buffer, 0, bytesOf(weight)));
  if (isQuantized(weight.dtype)) return dequantize(weight.dtype, weight.shape, bytes);
  const used = weight.dtype === "f32" ? bytes : bytes.subarray(0, sizeOf(weight.shape) * 2);
  return toFloat32(used, fileDType(weight.dtype), name);
}

function fileDType(dtype: DType): FileDType {
  return dtype === "f16" ? "F16" : dtype === "bf16" ? "BF16" : "F32";
}

/**
 * Puts other values in place of a weight, rounded to its storage. Throws ConfigError for a name that is not there, a quantised weight, another number of values, or a
 * value that is no finite number of that storage; the weight is then as it was.
 */
export function writeWeight(model: BaseModel, name: string, values: Float32Array): void {
  const weight = model.weights.get(name);
  if (!weight) throw new ConfigError(`${model.path}: no weight ${name}`);
  const where = `${model.path}: ${name}`;
  // Quantising again would round most of a small change away, and what was there could not be put back.
  if (isQuantized(weight.dtype)) {
    throw new ConfigError(
      `${where}: is quantised (${weight.dtype}) and keeps its values; change the model it was made from (\`graft merge\`), then quantise that`,
    );
  }
  if (values.length !== sizeOf(weight.shape))
    throw new ConfigError(`${where}: [${weight.shape}] cannot take ${values.length} values`);
  const packed = encode(values, weight.dtype);
  const { dtype } = weight;
  const stored =
    packed instanceof Float32Array ? packed : toFloat32(new Uint8Array(packed.buffer), fileDType(dtype), where);
  const bad = stored.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new ConfigError(`${where}: value ${bad} is ${values[bad]}, which ${dtype} does not hold`);
  model.device.write(weight.buffer, packed);
}

/** Bytes that tensors take on a device, each in a buffer of its own. */
export function storedBytes(
  parameters: readonly ParameterSpec[],
  dtypeOf: (name: string) => DType = () => "f32",
): number {
  return parameters.reduce(
    (sum, { name, shape }) => sum + Math.ceil(bytesOf({ shape, dtype: dtypeOf(name) }) / 16) * 16,
    0,
  );
}

/** What a trace needs of a loaded base. */
export function traceModelOf({
  definition,
  config,
  weights,
}: Pick<BaseModel, "definition" | "config" | "weights">): TraceModel {
  return { definition, config, dtypeOf: (name) => weights.get(name)!.dtype };
}
