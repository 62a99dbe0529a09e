/** Which states a job may go to from each. The only place that knows. */
import { ApiError } from "../errors.ts";
import type { JobState } from "./schema.ts";

export const transitions: Readonly<Record<JobState, readonly JobState[]>> = {
  queued: ["running", "cancelled", "failed"],
  running: ["succeeded", "failed", "cancelled", "queued"],
  succeeded: [],
  failed: [],
  cancelled: [],
};

/** Throws ApiError 409 on a move that the table does not have. */
export function assertTransition(from: JobState, to: JobState): void {
  if (!transitions[from].includes(to))
    throw new ApiError(409, `a job that is ${from} cannot become ${to}`, { code: "wrong_state" });
}
