/** What adapter folders say of themselves, without a base. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { CheckpointError } from "@graft/core/errors";
import { sizeOf } from "@graft/core/graph";
import { type FileDType, tensorBytes, type TensorFile, toFloat32 } from "@graft/core/io";
import { join } from "node:path";
import { z } from "zod";
import { type AdapterConfig, adapterVersion, openAdapterFile, readAdapterConfig } from "./adapter.ts";
import { norm } from "./linear-algebra.ts";
import { methodFor } from "./registry.ts";
import { unreadFields } from "./unread-fields.ts";

export interface AdapterSummary {
  readonly path: string;
  readonly peftType: string;
  readonly method: string;
  /** Config fields that say how large it is, such as r. */
  readonly size: Readonly<Record<string, unknown>>;
  readonly targets: readonly string[] | string | undefined;
  readonly base: string | undefined;
  /** Values of all tensors of the file, and its bytes. */
  readonly parameters: number;
  readonly bytes: number;
  readonly version: string;
}

export interface TensorSummary {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Frobenius. */
  readonly norm: number;
}

export interface AdapterDetails extends AdapterSummary {
  /** As it was written. */
  readonly written: AdapterConfig;
  /** With the defaults of its method. */
  readonly settled: Readonly<Record<string, unknown>>;
  /** Fields with a value that the method does not read. */
  readonly unread: readonly string[];
  readonly tensors: readonly TensorSummary[];
}

/** Folders with an adapter_config.json at or below `root`, in order; hidden ones and node_modules are passed over. Throws CheckpointError if there is no such folder. */
export function findAdapterFolders(root: string): string[] {
  if (!existsSync(root)) throw new CheckpointError(`${root}: no such folder`);
  if (!statSync(root).isDirectory()) throw new CheckpointError(`${root}: is no folder`);
  const below = readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith(".") && entry.name !== "node_modules")
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => findAdapterFolders(join(root, entry.name)));
  return existsSync(join(root, "adapter_config.json")) ? [root, ...below] : below;
}

/** Reads the config and the header of the weights. Throws ConfigError, UnknownName or CheckpointError. */
export function summariseAdapter(folder: string): AdapterSummary {
  const config = readConfig(folder);
  const file = openAdapterFile(folder);
  try {
    return summaryOf(folder, config, file);
  } finally {
    file.close();
  }
}

function summaryOf(folder: string, { written, method, settled }: ReadConfig, file: TensorFile): AdapterSummary {
  const counts = [...file.tensors.values()].map(({ shape }) => sizeOf(shape));
  return {
    path: folder,
    peftType: written.peft_type,
    method: method.name,
    size: Object.fromEntries(
      (method.sizeFields ?? []).flatMap((field) => (settled[field] == null ? [] : [[field, settled[field]]])),
    ),
    targets: targetsSchema.parse(settled.target_modules),
    base: nameSchema.parse(written.base_model_name_or_path),
    parameters: counts.reduce((a, b) => a + b, 0),
    bytes: [...file.tensors.values()].reduce((sum, { dtype, shape }) => sum + (tensorBytes(shape, dtype) ?? 0), 0),
    version: adapterVersion(folder),
  };
}

/** Reads everything. Throws as summariseAdapter. */
export function describeAdapter(folder: string): AdapterDetails {
  const config = readConfig(folder);
  const { written, method, settled } = config;
  const file = openAdapterFile(folder);
  try {
    return {
      ...summaryOf(folder, config, file),
      written,
      settled,
      unread: unreadFields(written, method.config),
      tensors: [...file.tensors].map(([name, { dtype, shape }]) => ({
        name,
        dtype,
        shape,
        norm: norm(toFloat32(file.read(name), dtype, `${file.path}: tensor ${name}`)),
      })),
    };
  } finally {
    file.close();
  }
}

const targetsSchema = z
  .union([z.string(), z.array(z.string())])
  .optional()
  .catch(undefined);
const nameSchema = z.string().optional().catch(undefined);

type ReadConfig = ReturnType<typeof readConfig>;

function readConfig(folder: string) {
  const path = join(folder, "adapter_config.json");
  const written = readAdapterConfig(folder);
  const { method, config } = methodFor(written, path);
  const settled: Record<string, unknown> = { peft_type: written.peft_type, ...(config as object) };
  return { written, method, settled };
}
