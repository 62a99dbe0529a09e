/** What an adapter remembers of its training, beside its weights: so that it can be asked the way it was taught, and what it was taught is known. */
import { defaultTrainOnInputs, type TrainingFormat } from "@graft/core/data";
import { readJson, writeFileAtomic } from "@graft/core/io";
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { z } from "zod";

const NAME = "training.json";

const recordSchema = z.object({
  format: z.enum(["instruction", "chat", "completion"]).default("instruction"),
  /** Of instructions; chats and completions have none. */
  prompt_template: z.string().optional(),
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
  readonly trainOnInputs?: boolean | undefined;
  readonly seed: number;
}

export async function writeTrainingRecord(
  folder: string,
  trained: Trained,
  { format, steps }: { readonly format: TrainingFormat; readonly steps: number },
): Promise<void> {
  const record: TrainingRecord = {
    format,
    ...(format === "instruction" ? { prompt_template: trained.promptTemplate } : {}),
    data_path: resolve(trained.dataPath),
    data_sha256: await sha256Of(trained.dataPath),
    steps,
    batch_size: trained.batchSize,
    learning_rate: trained.learningRate,
    cutoff_len: trained.cutoffLen,
    train_on_inputs: trained.trainOnInputs ?? defaultTrainOnInputs(format),
    seed: trained.seed,
  };
  writeFileAtomic(join(folder, NAME), [`${JSON.stringify(record, null, 2)}\n`]);
}

/** Undefined for an adapter that was not trained here. Throws ConfigError for a damaged record. */
export function readTrainingRecord(folder: string): TrainingRecord | undefined {
  const path = join(folder, NAME);
  return existsSync(path) ? readJson(path, recordSchema) : undefined;
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}
