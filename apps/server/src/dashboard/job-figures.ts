/** A job as numbers: how far it is, and its curves. */
import type { Job, JobEvent, JobStatus } from "./api-types.ts";

const ENDED: readonly JobStatus[] = ["succeeded", "failed", "cancelled"];

export function hasEnded(job: Pick<Job, "status">): boolean {
  return ENDED.includes(job.status);
}

/** What may be asked of a job in its state. */
export const changes: Readonly<Record<JobStatus, readonly ("cancel" | "pause" | "resume")[]>> = {
  validating_files: ["cancel"],
  queued: ["pause", "cancel"],
  running: ["pause", "cancel"],
  paused: ["resume", "cancel"],
  succeeded: [],
  failed: [],
  cancelled: [],
};

/** 0 to 1; undefined while the number of steps is not known. */
export function progressOf({ status, graft }: Job): number | undefined {
  if (status === "succeeded") return 1;
  const { step, total_steps: total } = graft ?? {};
  if (!total) return undefined;
  return Math.min(1, (step ?? 0) / total);
}

/** Seconds until the estimated end; undefined where there is none. */
export function secondsLeft({ status, estimated_finish: end }: Job, nowMs: number): number | undefined {
  if (status !== "running" || end === null || end === undefined) return undefined;
  return Math.max(0, end - nowMs / 1000);
}

/** Columns over the steps, as a chart takes them: null where a step has no such figure. */
export interface Curves {
  readonly steps: readonly number[];
  readonly training: readonly (number | null)[];
  readonly validation: readonly (number | null)[];
  readonly learningRate: readonly (number | null)[];
}

/** A step that was told of twice (a job that went on from a checkpoint) counts as it was told last. */
export function curvesOf(events: readonly JobEvent[]): Curves {
  const rows = new Map<number, { training: number | null; validation: number | null; learningRate: number | null }>();
  for (const { data } of events) {
    if (data?.step === undefined) continue;
    const row = rows.get(data.step);
    rows.set(data.step, {
      training: data.train_loss ?? row?.training ?? null,
      validation: data.valid_loss ?? row?.validation ?? null,
      learningRate: data.learning_rate ?? row?.learningRate ?? null,
    });
  }
  const sorted = [...rows].sort(([a], [b]) => a - b);
  return {
    steps: sorted.map(([step]) => step),
    training: sorted.map(([, row]) => row.training),
    validation: sorted.map(([, row]) => row.validation),
    learningRate: sorted.map(([, row]) => row.learningRate),
  };
}

/** Indices of at most `limit` of `count` rows, spread evenly, the first and the last among them. */
export function spread(count: number, limit: number): number[] {
  if (count <= limit) return Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: limit }, (_, i) => Math.round((i * (count - 1)) / (limit - 1)));
}
