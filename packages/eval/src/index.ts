export * from "./code/index.ts";
export * from "./contamination/index.ts";
export { customTask } from "./custom-task.ts";
export type { Dataset, DatasetSource, Split } from "./dataset.ts";
export * from "./datasets/index.ts";
export { findDataset, hasDataset } from "./find-dataset.ts";
export type { ChoiceDoc, Doc, InstructionDoc } from "./doc.ts";
export { endpointModel } from "./endpoint-model.ts";
export * from "./extract/index.ts";
export { EndpointError } from "./endpoint-client.ts";
export { hashOf } from "./hash.ts";
export { createJudge, type JudgeOptions } from "./judge/judge-client.ts";
export { type Figure, figureOf, type Metric, metricFor, metrics } from "./metrics.ts";
export { taskFor, tasks } from "./registry.ts";
export * from "./report.ts";
export {
  filterOf,
  primaryFigure,
  type RunOptions,
  runTask,
  sampleFileName,
  scoringOf,
  type TaskResult,
} from "./runner.ts";
export { type Sample, SampleFile, valueOf } from "./samples.ts";
export * from "./statistics.ts";
export * from "./task.ts";
export { humanEvalTask } from "./tasks/human-eval.ts";
