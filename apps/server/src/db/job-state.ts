/** Which states a job may go to from each. The only place that knows. */
import { ApiError } from "../errors.ts";
import type { JobState } from "./shapes.ts";

export const transitions: Readonly<Record<JobState, readonly JobState[]>> = {
  queued: ["running", "paused", "cancelled", "failed"],
  // Back to the queue after a crash.
  running: ["succeeded", "failed", "cancelled", "paused", "queued"],
  paused: ["queued", "cancelled"],
  succeeded: [],
  failed: [],
  cancelled: [],
};

/** Will it stay as it is? */
export const isFinal = (state: JobState): boolean => transitions[state].length === 0;

/** Throws ApiError 409 on a move that the table does not have. */
export function assertTransition(from: JobState, to: JobState): void {
  if (!transitions[from].includes(to))
    throw new ApiError(409, `a job that is ${from} cannot become ${to}`, { code: "wrong_state" });
}
