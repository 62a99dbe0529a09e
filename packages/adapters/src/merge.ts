/** Folding an adapter into its base: on the device, to be undone, or as a model folder of its own. */
import { ConfigError } from "@graft/core/errors";
import {
  checkNewFolder,
  fromFloat32,
  isFloatDType,
  type TensorShape,
  toFloat32,
  writeModelFolder,
} from "@graft/core/io";
import { type BaseModel, openModelCheckpoint, readModelConfig, readWeight, writeWeight } from "@graft/core/models";
import { loadAdapter, type LoadedAdapter } from "./adapter.ts";
import { baseOf, makeBase, storedNames } from "./base.ts";
import type { BoundMethod } from "./method.ts";

export interface Merged {
  /** Puts back the weights that merging changed, bit for bit. Of several merges the last is undone first. */
  unmerge(): void;
}

/**
 * Adds an adapter to the weights of a base on the device, in their storage dtype: the model then does alone what it did with the adapter, as PEFT's merge_adapter.
 * The weights it had stay on the host until they are put back. Throws ConfigError, with the base as it was, where the method cannot be merged, a weight is shared by
 * two modules and only one would change, a weight is quantised, or a result does not fit the storage.
 */
export async function mergeAdapter(model: BaseModel, adapter: LoadedAdapter): Promise<Merged> {
  const base = baseOf(model);
  const changes = changesOf(adapter);
  const tied = storedNames(base.sites);
  const shared = new Set([...tied.keys(), ...tied.values()]);
  const split = [...changes.keys()].find((name) => shared.has(name));
  if (split !== undefined) {
    throw new ConfigError(
      `${model.path}: ${split} is one tensor with another module's weight, which this adapter does not change; merge into a folder, where the two part`,
    );
  }
  const before = new Map<string, Float32Array>();
  const unmerge = (): void => {
    for (const [name, values] of before) writeWeight(model, name, values);
    before.clear();
  };
  try {
    for (const [name, compute] of changes) {
      const merged = await compute();
      before.set(name, await readWeight(model, name));
      writeWeight(model, name, merged);
    }
  } catch (error) {
    unmerge();
    throw error;
  }
  return { unmerge };
}

export interface MergeFoldersOptions {
  readonly model: string;
  readonly adapter: string;
  readonly outputDir: string;
  readonly signal?: AbortSignal | undefined;
  readonly onTensor?: ((done: number, total: number) => void) | undefined;
}

/**
 * Writes the model folder of a base with an adapter folded in: the base's tensors in the dtypes they have, one at a time in memory, its config and its tokenizer. Needs no
 * device and leaves both folders as they are. A tied output layer of which one side changes becomes a tensor of its own. All of it is written or nothing.
 * Throws ConfigError if the output folder has something in it or the base is quantised in its files, and what loading throws.
 */
export async function mergeIntoFolder({
  model,
  adapter,
  outputDir,
  signal,
  onTensor,
}: MergeFoldersOptions): Promise<void> {
  checkNewFolder(outputDir, "the merged model");
  const { definition, config, quantization } = readModelConfig(model);
  if (quantization)
    throw new ConfigError(
      `${model}: its weights are quantised (${quantization.method}); merge into the model they were made from, then \`graft quantize\` the result`,
    );
  const checkpoint = openModelCheckpoint(model, definition, config);
  try {
    const where = (name: string): string => `${checkpoint.path}: tensor ${name}`;
    const base = makeBase({ definition, config }, async (name) =>
      toFloat32(checkpoint.read(name), checkpoint.info(name).dtype, where(name)),
    );
    const changes = changesOf(loadAdapter(adapter, base));
    const tied = storedNames(base.sites);
    const parted = [...tied].filter(([name, stored]) => changes.has(name) || changes.has(stored));
    const sources = new Map(definition.parameters(config).map(({ name }) => [name, name]));
    for (const [name, stored] of parted) sources.set(name, stored);
    const shapes = new Map<string, TensorShape>();
    for (const [name, stored] of sources) {
      const { dtype, shape } = checkpoint.info(stored);
      shapes.set(name, { dtype: !changes.has(name) || isFloatDType(dtype) ? dtype : "F32", shape });
    }
    let done = 0;
    const bytesOf = async (name: string): Promise<Uint8Array> => {
      signal?.throwIfAborted();
      onTensor?.(++done, sources.size);
      const compute = changes.get(name);
      if (!compute) return checkpoint.read(sources.get(name)!);
      const { dtype } = shapes.get(name)!;
      const bytes = fromFloat32(await compute(), isFloatDType(dtype) ? dtype : "F32");
      const bad = toFloat32(bytes, dtype, name).findIndex((x) => !Number.isFinite(x));
      if (bad >= 0) throw new ConfigError(`${where(name)}: merged, value ${bad} is no finite number in ${dtype}`);
      return bytes;
    };
    const untied = parted.length > 0 ? { tie_word_embeddings: false } : {};
    await writeModelFolder(outputDir, model, shapes, bytesOf, untied);
  } finally {
    checkpoint.close();
  }
}

/** The weights that merging changes. Throws ConfigError with the reason if the method cannot be merged. */
export function changesOf({
  bound,
  values,
}: LoadedAdapter): ReturnType<Extract<BoundMethod["merge"], (...args: never) => unknown>> {
  if (typeof bound.merge !== "function")
    throw new ConfigError(`${bound.method} cannot be merged: ${bound.merge.impossible}`);
  return bound.merge(values);
}
