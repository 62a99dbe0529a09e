/** How adapters of the embedded micro models are trained: by the demo, the study, and the scripts that made what comes with Graft. */
import type { TrainRunOptions } from "@graft/adapters/train";
import { adamwDefaults } from "@graft/core/train";
import { join } from "node:path";
import { config } from "./config.ts";

export const microModels = join(config.root, "models");
export const microData = join(microModels, "data");

/** All of a training run but its files, its adapter, its length and its learning rate. */
export const microRecipe = {
  promptTemplate: "micro",
  cutoffLen: 64,
  trainOnInputs: false,
  valSetSize: 0,
  batchSize: 16,
  microBatchSize: 16,
  groupByLength: false,
  packing: false,
  epochs: 100,
  schedule: "linear",
  warmupSteps: 5,
  optimizer: adamwDefaults,
  maxGradNorm: 1,
  lossReduction: "token",
  gradientCheckpointing: false,
  seed: 1,
  evalSteps: 0,
  saveSteps: 0,
  saveTotalLimit: 1,
} as const satisfies Partial<TrainRunOptions>;
