/** Data sets: which there are, and how they are fetched. */
export type { GlueDoc } from "./glue.ts";
export type { HumanEvalDoc } from "./human-eval.ts";
export type { MtBenchDoc } from "./mt-bench.ts";
export { LOCK_NAME, pullDataset, type PulledFile, type PullOptions, type PullProgress } from "./pull.ts";
export { datasetFor, datasets } from "./registry.ts";
