/** Writing a quantised model folder. */
import type { QuantizedType } from "@graft/kernels";
import { CheckpointError, ConfigError } from "../errors/index.ts";
import { sizeOf } from "../graph/graph.ts";
import { checkNewFolder, checkWeightDType, type TensorShape, writeModelFolder } from "../io/index.ts";
import { openModelCheckpoint, readModelConfig } from "./base-model.ts";
import { type Quantization, quantizationConfig, quantizedTypes } from "./quantization.ts";
import { quantizedTensors, quantizeTensor, scaleTensor } from "./quantized-tensors.ts";

export interface QuantizeFolderOptions {
  readonly model: string;
  readonly outputDir: string;
  readonly quantization: Quantization;
  readonly signal?: AbortSignal | undefined;
  readonly onTensor?: ((done: number, total: number) => void) | undefined;
}

/**
 * Writes a model folder whose linear weights are quantised: codes and scales that loading `model` with the same quantization would make, other tensors in the dtypes they
 * have, config with `quantization_config`, tokenizer. One tensor at a time is in memory, and all scales. All of it is written or nothing.
 * Throws ConfigError if the output folder has something in it or the model is quantised already, CheckpointError for a weight with a value that is no finite number.
 */
export async function quantizeFolder({
  model,
  outputDir,
  quantization,
  signal,
  onTensor,
}: QuantizeFolderOptions): Promise<void> {
  checkNewFolder(outputDir, "the quantised model");
  const { definition, config, quantization: present } = readModelConfig(model);
  if (present) throw new ConfigError(`${model}: is ${present.method} already; quantise the model it was made from`);
  const types = quantizedTypes({ definition, config }, quantization, model);
  const checkpoint = openModelCheckpoint(model, definition, config);
  try {
    const sources = new Map<string, Source>();
    const shapes = new Map<string, TensorShape>();
    for (const { name, shape } of definition.parameters(config)) {
      const info = checkpoint.info(name);
      checkWeightDType(info.dtype, `${checkpoint.path}: tensor ${name}`);
      if (`${info.shape}` !== `${shape}`)
        throw new CheckpointError(`${model}: tensor ${name} is [${info.shape}], config.json says [${shape}]`);
      const type = types.get(name);
      const parts: ReadonlyMap<string, TensorShape> = type ? quantizedTensors(type, shape) : new Map([["", info]]);
      for (const [part, tensor] of parts) {
        sources.set(name + part, { name, part, type, shape });
        shapes.set(name + part, { dtype: tensor.dtype, shape: tensor.shape });
      }
    }
    // Tensors are written by dtype, so a weight's scales and its codes are asked for at different times.
    const quantized = new Map<string, ReturnType<typeof quantizeTensor>>();
    let done = 0;
    const bytesOf = (tensor: string): Uint8Array => {
      signal?.throwIfAborted();
      onTensor?.(++done, sources.size);
      const { name, part, type, shape } = sources.get(tensor)!;
      if (!type) return checkpoint.read(name);
      let own = quantized.get(name);
      if (!own) quantized.set(name, (own = quantizeTensor(checkpoint, name, type, shape)));
      if (part !== "") return scaleTensor(type, part, shape, own.scales);
      const bytes = new Uint8Array(sizeOf(shapes.get(tensor)!.shape));
      for (const piece of own.codes()) bytes.set(piece.bytes.subarray(0, bytes.length - piece.at), piece.at);
      return bytes;
    };
    const changes = { quantization_config: quantizationConfig(quantization) };
    await writeModelFolder(outputDir, model, shapes, bytesOf, changes);
  } finally {
    checkpoint.close();
  }
}

interface Source {
  readonly name: string;
  readonly part: string;
  readonly type: QuantizedType | undefined;
  readonly shape: readonly number[];
}
