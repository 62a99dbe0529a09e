/** What an adapter remembers of its training, beside its weights: so that it can be asked the way it was taught, and what it was taught is known. */
import { readJson, writeFileAtomic } from "@graft/core/io";
import { hashOf } from "@graft/eval";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";

const NAME = "training.json";

const recordSchema = z.object({
  prompt_template: z.string(),
  data_path: z.string(),
  /** Of the file's bytes. */
  data_sha256: z.string(),
  steps: z.int(),
  batch_size: z.int(),
  learning_rate: z.number(),
  cutoff_len: z.int(),
  train_on_inputs: z.boolean(),
  seed: z.int(),
});
export type TrainingRecord = z.output<typeof recordSchema>;

export interface Trained {
  readonly promptTemplate: string;
  readonly dataPath: string;
  readonly batchSize: number;
  readonly learningRate: number;
  readonly cutoffLen: number;
  readonly trainOnInputs: boolean;
  readonly seed: number;
}

export function writeTrainingRecord(folder: string, trained: Trained, steps: number): void {
  const record: TrainingRecord = {
    prompt_template: trained.promptTemplate,
    data_path: resolve(trained.dataPath),
    data_sha256: hashOf(readFileSync(trained.dataPath)),
    steps,
    batch_size: trained.batchSize,
    learning_rate: trained.learningRate,
    cutoff_len: trained.cutoffLen,
    train_on_inputs: trained.trainOnInputs,
    seed: trained.seed,
  };
  writeFileAtomic(join(folder, NAME), [`${JSON.stringify(record, null, 2)}\n`]);
}

/** Undefined for an adapter that was not trained here. Throws ConfigError for a damaged record. */
export function readTrainingRecord(folder: string): TrainingRecord | undefined {
  const path = join(folder, NAME);
  return existsSync(path) ? readJson(path, recordSchema) : undefined;
}
