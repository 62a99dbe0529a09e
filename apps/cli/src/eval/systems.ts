/** What is measured: a base alone, a base with adapters, or a server. */
import { adapterVersion, baseOf, loadAdapter, readAdapterConfig } from "@graft/adapters";
import { CheckpointError } from "@graft/core/errors";
import { createLanguageModel, type LanguageModel } from "@graft/core/generate";
import { AdapterWeights } from "@graft/core/nn";
import { endpointModel } from "@graft/eval";
import type { Device } from "@graft/kernels";
import { basename, resolve } from "node:path";
import { UsageError } from "../command.ts";
import { config } from "../config.ts";
import { type LoadedModel, loadModel } from "../load-model.ts";
import { readTrainingRecord, type TrainingRecord } from "@graft/adapters/train";
import type { EvalSettings } from "./options.ts";

export interface System {
  /** What reports call it. */
  readonly name: string;
  /** Folder; undefined for the base alone and for a server. */
  readonly adapter: string | undefined;
  readonly training: TrainingRecord | undefined;
  /** Opens it, and closes it whatever becomes of `use`. */
  with<T>(use: (model: LanguageModel) => Promise<T>): Promise<T>;
}

export interface Systems {
  readonly all: readonly System[];
  /** Undefined for a server. */
  readonly device: Device | undefined;
  /** Folder of the base; undefined for a server. */
  readonly folder: string | undefined;
  /** Positions that the model has; undefined where a server does not say. */
  readonly maxLength: number | undefined;
  close(): Promise<void>;
}

/** Sequences that run at once where nobody says how many. */
const AUTO_BATCH = 64;

/** Loads the base once for all adapters. Throws what loading throws, UsageError for options that exclude each other. */
export async function openSystems(o: EvalSettings, numBeams: number): Promise<Systems> {
  const named = namedSystems(o);
  if (o.endpoint !== undefined) return openEndpoint(o, o.endpoint);
  // Before the base is loaded.
  for (const { adapter } of named) if (adapter !== undefined) readAdapterConfig(adapter);
  const records = named.map(({ adapter }) => (adapter === undefined ? undefined : readTrainingRecord(adapter)));
  const loaded = await loadModel({
    model: o.model,
    dtype: o.dtype,
    quantization: o.quantization,
    quantizationSkipModules: o.quantizationSkipModules,
    maxSequences: o.batchSize === "auto" ? Math.max(AUTO_BATCH, numBeams) : o.batchSize * numBeams,
  });
  return {
    all: named.map(({ name, adapter }, i) => ({
      name,
      adapter,
      training: records[i],
      with: withAdapter(loaded, o.model, adapter),
    })),
    device: loaded.device,
    folder: loaded.base.path,
    maxLength: loaded.base.config.maxLength,
    close: () => loaded.close(),
  };
}

/** `NAME=DIR`, `DIR` or `none`; without any, the base alone. Throws UsageError for a name that is given twice. */
function namedSystems(o: EvalSettings): { readonly name: string; readonly adapter: string | undefined }[] {
  const base = basename(resolve(o.model));
  const systems = (o.adapter.length === 0 ? ["none"] : o.adapter).map((entry) => {
    if (entry === "none") return { name: base, adapter: undefined };
    const [, name, folder] = /^([^=/]+)=(.+)$/s.exec(entry) ?? [];
    return { name: name ?? basename(resolve(entry)), adapter: folder ?? entry };
  });
  for (const [i, { name }] of systems.entries()) {
    if (systems.findIndex((other) => other.name === name) < i)
      throw new UsageError(`--adapter: two of them are called "${name}"; give them as NAME=DIR`);
  }
  return systems;
}

function withAdapter(
  { base, generator, tokenizer, device }: LoadedModel,
  model: string,
  adapter: string | undefined,
): System["with"] {
  return async (use) => {
    if (!tokenizer) throw new CheckpointError(`${model}: has neither tokenizer.json nor tokenizer.model`);
    if (adapter === undefined)
      return use(createLanguageModel({ name: model, generator, tokenizer, weights: undefined }));
    const { bound, values } = loadAdapter(adapter, baseOf(base));
    const weights = new AdapterWeights(device, bound, values, adapter);
    try {
      // With its version: results of an adapter that was trained again are not those of its folder's name.
      const name = `${model} + ${adapter} ${adapterVersion(adapter)}`;
      return await use(createLanguageModel({ name, generator, tokenizer, weights }));
    } finally {
      await generator.forget(weights);
      weights.destroy();
    }
  };
}

function openEndpoint(o: EvalSettings, url: string): Systems {
  if (o.adapter.length > 0)
    throw new UsageError(
      "--adapter goes with a model of this machine; a server has a name for each of its adapters: give it as --model",
    );
  const model = endpointModel({
    url,
    model: o.model,
    apiKey: config.apiKey,
    isChat: o.endpointChat,
    concurrency: o.batchSize === "auto" ? 16 : o.batchSize,
  });
  return {
    all: [{ name: o.model, adapter: undefined, training: undefined, with: (use) => use(model) }],
    device: undefined,
    folder: undefined,
    maxLength: undefined,
    close: () => Promise.resolve(),
  };
}
