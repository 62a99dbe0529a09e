/** Running programs that a model wrote, and what is computed from how they ended. */
export { NO_ISOLATION } from "./isolation.ts";
export { passAtK } from "./pass-at-k.ts";
export { createProgramRunner, type ProgramRunnerOptions } from "./run-program.ts";
