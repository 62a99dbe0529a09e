/** Short training runs in the test's own process. */
import type { AdapterConfig } from "@graft/adapters";
import { trainRun, type TrainRunOptions } from "@graft/adapters/train";
import type { BaseModel } from "@graft/core/models";
import { loadTokenizer } from "@graft/core/text";
import { adamwDefaults } from "@graft/core/train";
import { mathRows, micro } from "./process.ts";

/** 32 rows of micro-math once, saved and validated often. */
export function trainOptions(
  outputDir: string,
  adapterConfig: AdapterConfig,
  changes: Partial<TrainRunOptions>,
): TrainRunOptions {
  return {
    dataPath: mathRows,
    outputDir,
    adapterConfig,
    promptTemplate: "micro",
    cutoffLen: 48,
    trainOnInputs: false,
    valSetSize: 8,
    batchSize: 4,
    microBatchSize: 2,
    groupByLength: false,
    packing: false,
    maxRows: 32,
    epochs: 1,
    learningRate: 1e-2,
    schedule: "linear",
    warmupSteps: 1,
    optimizer: adamwDefaults,
    maxGradNorm: 1,
    lossReduction: "token",
    gradientCheckpointing: false,
    seed: 3,
    evalSteps: 3,
    saveSteps: 2,
    saveTotalLimit: 1,
    ...changes,
  };
}

/** Trains the micro model; aborts after `stopAfter` steps, as Ctrl-C does. What the run says goes to `notes`. */
export function trainMicro(
  model: BaseModel,
  options: TrainRunOptions,
  stopAfter = Number.POSITIVE_INFINITY,
  notes: string[] = [],
) {
  const controller = new AbortController();
  return trainRun(model, loadTokenizer(micro), options, {
    signal: controller.signal,
    onEvent(event) {
      if (event.type === "step" && event.step === stopAfter) controller.abort();
      if (event.type === "note") notes.push(event.message);
    },
  });
}
