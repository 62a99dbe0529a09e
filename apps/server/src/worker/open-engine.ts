/** An engine on a device: base, tokenizer and a way to open adapters. */
import { baseOf, openAdapter } from "@graft/adapters";
import { createEngine, type Engine } from "@graft/core/engine";
import { loadBaseModel } from "@graft/core/models";
import { loadTokenizer } from "@graft/core/text";
import type { Device } from "@graft/kernels";
import type { EngineOptions } from "./protocol.ts";

export interface OpenEngine {
  readonly engine: Engine;
  /** Ends all requests and frees everything but the device, which is the caller's. */
  close(): Promise<void>;
}

/** Throws what loading a base or a tokenizer throws. */
export function openEngine(device: Device, options: Omit<EngineOptions, "tuning">): OpenEngine {
  const tokenizer = loadTokenizer(options.model);
  const model = loadBaseModel(device, options.model, {
    dtype: options.dtype,
    quantization: options.quantization,
  });
  const base = baseOf(model);
  const engine = createEngine({
    model,
    tokenizer,
    openAdapter: async (path) => openAdapter(model, base, path),
    ...(options.maxSequences === undefined ? {} : { maxSequences: options.maxSequences }),
  });
  return {
    engine,
    async close() {
      await engine.close();
      model.destroy();
    },
  };
}
