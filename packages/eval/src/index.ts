export * from "./extract.ts";
export { taskFor, tasks } from "./registry.ts";
export { markdownTable, resultsJson } from "./report.ts";
export { type RunOptions, runTask, type TaskResult } from "./runner.ts";
export { type Sample, SampleFile } from "./samples.ts";
export type { Task } from "./task.ts";
