/** An engine on a device: base, tokenizer and a way to open adapters. */
import { adapterVersion, baseOf, loadAdapter } from "@graft/adapters";
import { createEngine, type Engine, type OpenedAdapter } from "@graft/core/engine";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
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

function openAdapter(model: BaseModel, base: ReturnType<typeof baseOf>, path: string): OpenedAdapter {
  const loaded = loadAdapter(path, base);
  const weights = new AdapterWeights(model.device, loaded.bound, loaded.values, path);
  const bytes = loaded.bound.parameters.reduce((sum, p) => sum + 4 * p.shape.reduce((a, b) => a * b, 1), 0);
  return {
    info: { version: adapterVersion(path), path, method: loaded.bound.method, parameters: bytes / 4, bytes },
    weights,
  };
}
