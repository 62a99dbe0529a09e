/** An engine on a device: base, tokenizer and a way to open adapters. */
import { adapterLoader, baseOf } from "@graft/adapters";
import { trainRun, type TrainRunOptions, type TrainTools } from "@graft/adapters/train";
import { createEngine, type DeviceEngine } from "@graft/core/engine";
import { createConstraintCompiler } from "@graft/core/generate";
import { loadBaseModel } from "@graft/core/models";
import { loadTokenizer } from "@graft/core/text";
import type { Device } from "@graft/kernels";
import type { EngineOptions } from "./protocol.ts";

export interface OpenEngine {
  readonly engine: DeviceEngine;
  /** Trains on the engine's base; its work on the device takes turns with the engine's. */
  train(options: TrainRunOptions, tools: Pick<TrainTools, "signal" | "onEvent">): Promise<unknown>;
  /** Ends all requests and frees everything but the device, which is the caller's. */
  close(): Promise<void>;
}

/** Throws what loading a base or a tokenizer throws. */
export function openEngine(device: Device, options: Omit<EngineOptions, "tuning">): OpenEngine {
  const { model: folder, dtype, quantization, ...limits } = options;
  const tokenizer = loadTokenizer(folder);
  const model = loadBaseModel(device, folder, { dtype, quantization });
  const { config, generation } = model;
  const constraints = createConstraintCompiler(tokenizer, config.vocabSize, generation.eosTokenIds);
  const engine = createEngine({
    model,
    tokenizer,
    compileConstraint: (constraint) => constraints.compile(constraint),
    adapters: adapterLoader(model, baseOf(model)),
    ...limits,
  });
  return {
    engine,
    train: (training, { signal, onEvent }) =>
      trainRun(model, tokenizer, training, {
        signal,
        onEvent(event) {
          if (event.type === "step") engine.countTraining({ steps: 1, tokens: event.tokens });
          onEvent?.(event);
        },
        turn: (work) => engine.turn(work),
      }),
    async close() {
      await engine.close();
      model.destroy();
    },
  };
}
