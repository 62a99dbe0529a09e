/** What a training run does where nobody says otherwise: LLM-Adapters' finetune.py, and transformers' Trainer below it. */
export const trainingDefaults = {
  epochs: 3,
  batchSize: 128,
  microBatchSize: 4,
  learningRate: 3e-4,
  schedule: "linear",
  warmupSteps: 100,
  weightDecay: 0,
  maxGradNorm: 1,
  cutoffLen: 256,
  valSetSize: 2000,
  evalSteps: 200,
  saveSteps: 200,
  saveTotalLimit: 3,
  seed: 42,
} as const;
