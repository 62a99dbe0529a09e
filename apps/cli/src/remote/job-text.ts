/** Jobs as a person reads them. */
import { table } from "../table.ts";
import type { Job } from "./client.ts";
import { secondsText, whenText } from "./text.ts";

/** Progress as "12/96"; before the first step the number of steps alone. */
function stepsText({ graft: { step, total_steps: total } }: Job): string {
  return total === null ? String(step) : `${step}/${total}`;
}

const lossText = ({ graft: { loss } }: Job): string => (loss === null ? "" : loss.toFixed(4));

/** Jobs that run or wait, as `graft ps` shows them. `now`: Unix seconds. */
export function activeJobsTable(jobs: readonly Job[], now: number): string {
  const rows = jobs.map((job) => [
    job.id,
    job.status,
    job.model,
    job.graft.method,
    stepsText(job),
    lossText(job),
    job.estimated_finish === null ? "" : secondsText(job.estimated_finish - now),
  ]);
  return table(["job", "status", "model", "method", "step", "loss", "left"], rows);
}

/** All of them, with what became of them. */
export function jobsTable(jobs: readonly Job[]): string {
  const rows = jobs.map((job) => [
    job.id,
    whenText(job.created_at),
    job.status,
    job.model,
    job.graft.method,
    stepsText(job),
    lossText(job),
    job.fine_tuned_model ?? job.error?.message ?? "",
  ]);
  return table(["job", "created (UTC)", "status", "model", "method", "step", "loss", "result"], rows);
}

/** One line on how a job stands. */
export function jobLine(job: Job): string {
  const { id, status, error, fine_tuned_model: name } = job;
  if (status === "succeeded") return `job ${id} succeeded: the adapter is served as ${name ?? "?"}`;
  if (status === "failed") return `job ${id} failed: ${error?.message ?? "the server does not say why"}`;
  return `job ${id} is ${status}, at step ${stepsText(job)}`;
}
