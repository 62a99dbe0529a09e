/** Results of a study as results.json has them: all that tables and pictures are made of. */
import { z } from "zod";

/** A task's figure. */
export const scoreSchema = z.object({
  task: z.string(),
  version: z.int(),
  scoring: z.string(),
  metric: z.string(),
  value: z.number(),
  stderr: z.number(),
  /** Problems. */
  count: z.int(),
  /** Of the test file, and of all prompts: scores with the same two were asked the same. */
  dataset_sha256: z.string(),
  prompts_hash: z.string(),
  /** A digit for each problem, 1 is right; null where the metric is no zero or one. */
  outcomes: z.string().nullable(),
  /** Lines about questions that the training data has. */
  contamination: z.array(z.string()),
  seconds: z.number(),
});
export type Score = z.output<typeof scoreSchema>;

/** What training came to. */
export const trainedSchema = z.object({
  steps: z.int(),
  final_loss: z.number().nullable(),
  /** Of the steps alone, without compiling and loading. */
  seconds: z.number(),
  /** Why there is no adapter: the loss was no number any more. */
  failure: z.string().nullable(),
});
export type Trained = z.output<typeof trainedSchema>;

export interface CellResult {
  readonly model: string;
  /** What was trained on. */
  readonly task: string;
  readonly title: string;
  /** null: the model alone; so are all that follow from an adapter. */
  readonly method: string | null;
  readonly placement: string | null;
  /** The config field that says how large the adapter is. */
  readonly size_field: string | null;
  readonly learning_rate: number | null;
  readonly seed: number | null;
  readonly is_reference: boolean;
  readonly config: Readonly<Record<string, unknown>> | null;
  readonly trainable_parameters: number;
  readonly trained: Trained | null;
  /** Empty after a failure. */
  readonly scores: readonly Score[];
}

export interface StudyResults {
  readonly name: string;
  readonly description: string;
  readonly cells: readonly CellResult[];
}
