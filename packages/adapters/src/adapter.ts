/** Adapters as files: PEFT's adapter_config.json and adapter_model.safetensors, and an adapter bound to a base. */
import { CheckpointError, ConfigError } from "@graft/core/errors";
import {
  checkWeightDType,
  type FileDType,
  fromFloat32,
  isFloatDType,
  readJson,
  openSafetensors,
  openTorchPickle,
  type TensorData,
  type TensorFile,
  toFloat32,
  writeFileAtomic,
  writeFolderAtomic,
  writeSafetensors,
} from "@graft/core/io";
import { Random } from "@graft/core/random";
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Base, BoundMethod, ConfigOrigin, ShapeInFile } from "./method.ts";
import { methodFor } from "./registry.ts";
import { unreadFields } from "./unread-fields.ts";

export const adapterConfigSchema = z.looseObject({ peft_type: z.string() });
export type AdapterConfig = z.output<typeof adapterConfigSchema>;

export interface LoadedAdapter {
  /** adapter_config.json as it was read, unknown fields included. */
  readonly config: AdapterConfig;
  /** The text it was read from: written back as it was, since JSON numbers such as 0.0 do not survive parsing. */
  readonly configText?: string | undefined;
  readonly bound: BoundMethod;
  /** Fields of the config that have no effect here. */
  readonly unread?: readonly string[];
  readonly values: Map<string, Float32Array>;
  /** How the file it was read from keeps each of its tensors: so it is written back. */
  readonly stored?: ReadonlyMap<string, StoredAs> | undefined;
}

interface StoredAs {
  readonly name: string;
  readonly dtype: FileDType;
}

/** Checks a config and binds it to a base. Throws ConfigError or UnknownName beginning with `where`. */
export function bindAdapter(
  config: AdapterConfig,
  base: Base,
  where: string,
  origin: ConfigOrigin = "new",
  shapeInFile?: ShapeInFile,
): BoundMethod {
  const found = methodFor(config, where);
  const bound = found.method.bind(found.config, base, where, origin, shapeInFile, bindAdapter);
  return { ...bound, signature: signatureOf(config, bound) };
}

/** Fields of a config that say where an adapter comes from, not what it does. */
const PROVENANCE = new Set(["base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"]);

/** The same for adapters of one base that differ in values alone. */
function signatureOf(config: AdapterConfig, { parameters }: BoundMethod): string {
  const fields = Object.entries(config)
    .filter(([field]) => !PROVENANCE.has(field))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return createHash("sha256")
    .update(JSON.stringify([fields, parameters]))
    .digest("hex");
}

/** A fresh adapter with seeded initial values. Its config gets what the method adds to it (`Method.complete`). */
export async function createAdapter(
  config: AdapterConfig,
  base: Base,
  seed: number,
  where = "adapter config",
): Promise<LoadedAdapter> {
  const added = methodFor(config, where).method.complete?.(base) ?? {};
  const own = Object.entries(config).filter(
    ([field, value]) => !(field in added) || (value ?? undefined) !== undefined,
  );
  const full: AdapterConfig = { ...added, ...Object.fromEntries(own), peft_type: config.peft_type };
  const bound = bindAdapter(full, base, where);
  return { config: { ...full, ...bound.settledConfig }, bound, values: await bound.initialise(new Random(seed)) };
}

/** The adapter_config.json of a folder. Throws CheckpointError if there is none, ConfigError for what is no config. */
export function readAdapterConfig(folder: string): AdapterConfig {
  if (!existsSync(folder)) throw new CheckpointError(`${folder}: no such adapter folder`);
  const path = join(folder, "adapter_config.json");
  if (!existsSync(path)) throw new CheckpointError(`${folder}: is no adapter folder, it has no adapter_config.json`);
  return readJson(path, adapterConfigSchema);
}

/**
 * Reads a PEFT folder. Throws ConfigError for the config, CheckpointError naming the tensor that is missing, unknown or of another shape than this base needs.
 */
export function loadAdapter(folder: string, base: Base): LoadedAdapter {
  const steps = loadSteps(folder, base);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** What loadAdapter does, a tensor a step: for whoever must not keep the thread that long. */
export function* loadSteps(folder: string, base: Base): Generator<void, LoadedAdapter> {
  const config = readAdapterConfig(folder);
  const configPath = join(folder, "adapter_config.json");
  const file = openAdapterFile(folder);
  const { path } = file;
  try {
    const bound = bindAdapter(config, base, configPath, "file", (key) => file.tensors.get(key)?.shape);
    const values = new Map<string, Float32Array>();
    const stored = new Map<string, StoredAs>();
    for (const { key, shape } of bound.parameters) {
      yield;
      const alias = bound.aliases?.get(key);
      const name = alias !== undefined && !file.tensors.has(key) ? alias : key;
      const info = file.tensors.get(name);
      const derive = bound.derived?.get(key);
      if (!info && derive) {
        values.set(key, derive());
        continue;
      }
      if (!info)
        throw new CheckpointError(
          `${path}: has no tensor ${key}, which ${config.peft_type} with this config needs on this base${bound.missing ?? "; is the adapter for another base?"}`,
        );
      if (`${info.shape}` !== `${shape}`) {
        throw new CheckpointError(
          `${path}: tensor ${name} is [${info.shape}], this base needs [${shape}]; is the adapter for another base?`,
        );
      }
      checkWeightDType(info.dtype, `${path}: tensor ${name}`);
      values.set(key, toFloat32(file.read(name), info.dtype, `${path}: tensor ${name}`));
      stored.set(key, { name, dtype: info.dtype });
    }
    for (const { key } of bound.savedBase) {
      const info = file.tensors.get(key);
      if (info) stored.set(key, { name: key, dtype: info.dtype });
    }
    const known = new Set([...stored.values()].map(({ name }) => name));
    const unknown = [...file.tensors.keys()].find((name) => !known.has(name));
    if (unknown !== undefined)
      throw new CheckpointError(`${path}: tensor ${unknown} does not belong to this adapter_config.json on this base`);
    const unread = unreadFields(config, methodFor(config, configPath).method.config);
    return { config, unread, configText: readFileSync(configPath, "utf8"), bound, values, stored };
  } finally {
    file.close();
  }
}

/** The weights of an adapter folder. Throws CheckpointError if there are none. */
export function openAdapterFile(folder: string): TensorFile {
  const path = weightsPath(folder);
  return path.endsWith(".bin") ? openTorchPickle(path) : openSafetensors(path);
}

/** PEFT's safetensors, or the pickle that older versions and the LLM-Adapters fork write. Throws CheckpointError if there is neither. */
export function weightsPath(folder: string): string {
  const places = ["adapter_model.safetensors", "adapter_model.bin"].map((name) => join(folder, name));
  const found = places.find((place) => existsSync(place));
  if (found === undefined)
    throw new CheckpointError(`${folder}: has neither adapter_model.safetensors nor adapter_model.bin`);
  return found;
}

/** A hash of an adapter folder's config and weights: the same bytes are the same version. Throws CheckpointError if a file is missing. */
export function adapterVersion(folder: string): string {
  const hash = createHash("sha256");
  for (const path of [join(folder, "adapter_config.json"), weightsPath(folder)]) hash.update(readFileSync(path));
  return hash.digest("hex").slice(0, 16);
}

/** The adapter in the form that is for use: the same function without what only further training needs. For most that is the adapter itself. */
export function finishAdapter(adapter: LoadedAdapter, base: Base): LoadedAdapter {
  const plain = adapter.bound.toPlain?.(adapter.values);
  if (!plain) return adapter;
  const config = { ...adapter.config, ...plain.config };
  return { config, bound: plain.bound ?? bindAdapter(config, base, "finished adapter"), values: plain.values };
}

/** Writes a PEFT folder for use, all of it or nothing: what else was in the folder goes. */
export async function saveAdapter(folder: string, adapter: LoadedAdapter, base: Base): Promise<void> {
  await writeFolderAtomic(folder, (temporary) => writeAdapterFiles(temporary, finishAdapter(adapter, base), base));
}

/** Writes an adapter as it is, also half-trained: adapter_model.safetensors and adapter_config.json (sorted keys, two spaces, as PEFT) into a folder, each at once or not at all. */
export async function writeAdapterFiles(folder: string, adapter: LoadedAdapter, base: Base): Promise<void> {
  const tensors = new Map<string, TensorData>();
  const put = (key: string, shape: readonly number[], values: Float32Array): void => {
    const as = adapter.stored?.get(key);
    const dtype = as && isFloatDType(as.dtype) ? as.dtype : "F32";
    tensors.set(as?.name ?? key, { dtype, shape, bytes: fromFloat32(values, dtype) });
  };
  for (const { key, shape } of adapter.bound.parameters) {
    if (adapter.bound.derived?.has(key) && !adapter.stored?.has(key)) continue;
    const values = adapter.values.get(key);
    if (!values) throw new ConfigError(`${folder}: no values for ${key}`);
    put(key, shape, values);
  }
  for (const { key, parameter } of adapter.bound.savedBase)
    if (!adapter.stored || adapter.stored.has(key)) put(key, base.shapeOf(parameter)!, await base.read(parameter));
  writeSafetensors(join(folder, "adapter_model.safetensors"), tensors, { format: "pt" });
  writeFileAtomic(join(folder, "adapter_config.json"), [adapter.configText ?? sortedJson(adapter)]);
}

function sortedJson({ config, bound }: LoadedAdapter): string {
  const sorted = Object.entries(config).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify(Object.fromEntries(sorted), null, 2);
  return (bound.floatFields ?? []).reduce(
    (json, field) => json.replace(new RegExp(`^( {2}"${field}": -?\\d+)(?=,?$)`, "m"), "$1.0"),
    text,
  );
}
