export * from "./adapter-bank.ts";
export * from "./engine.ts";
export { createEngine, type LiveEngineOptions } from "./live-engine.ts";
export { type Chosen, type Job, Scheduler, type SchedulerLimits } from "./scheduler.ts";
export { TextStream } from "./text-stream.ts";
