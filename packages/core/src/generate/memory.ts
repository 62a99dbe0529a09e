/** What generation takes on a device, from a config alone. */
import type { Capabilities } from "@graft/kernels";
import { type Footprint, footprintOf, plan } from "../graph/index.ts";
import { storedBytes, type TraceModel, tracePaged } from "../models/index.ts";
import type { Adapter } from "../nn/index.ts";
import { cacheOptionsFor, type GeneratorOptions } from "./generator.ts";
import { bucket, type CacheOptions } from "./paged-forward.ts";

/** Bytes on the device. */
export interface GenerationMemory extends Footprint {
  readonly weights: number;
  /** One adapter. */
  readonly adapter: number;
  /** Keys and values. */
  readonly cache: number;
  readonly cacheOptions: CacheOptions;
}

/** Memory of a generator with its largest pass: a full chunk of prompts, with a token after each sequence. Throws ShapeError if something is too large for the device. */
export function generationMemory(
  model: TraceModel,
  adapter: Adapter | undefined,
  options: GeneratorOptions,
  capabilities: Capabilities,
): GenerationMemory {
  const { config, definition } = model;
  const cacheOptions = cacheOptionsFor(config, capabilities, options);
  const { pages, pageSize, maxSequences, maxRows } = cacheOptions;
  const shape = {
    rows: bucket(maxRows),
    outputs: bucket(maxSequences),
    sequences: maxSequences,
    maxPages: Math.ceil(config.maxLength / pageSize),
    pageSize,
    pages,
  };
  const { graph, ids, logprobs } = tracePaged(model, shape, { adapter });
  return {
    weights: storedBytes(definition.parameters(config), model.dtypeOf),
    adapter: storedBytes((adapter?.parameters ?? []).map(({ key, shape: s }) => ({ name: key, shape: s }))),
    cache: 2 * config.layers * pages * pageSize * config.kvHeads * config.headDim * 4,
    cacheOptions,
    ...footprintOf([plan(graph, [ids, logprobs], capabilities)]),
  };
}
