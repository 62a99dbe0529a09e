export * from "./memory.ts";
export * from "./optimizer.ts";
export * from "./schedule.ts";
export * from "./train-step.ts";
export * from "./trainer.ts";
