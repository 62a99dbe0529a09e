/** Waiting for a job, with its progress on the screen. */
import { trainingProgress } from "../train/progress.ts";
import type { Job, Remote } from "./client.ts";
import { followJob } from "./events.ts";

/**
 * Shows steps as a training run does, other events as lines, until the job has ended, and resolves to it as it is then. Throws what followJob throws; the job
 * goes on without its watcher.
 */
export async function watchJob(
  remote: Remote,
  id: string,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<Job> {
  const progress = trainingProgress(log);
  const onLost = (): void => progress.note(`the connection to ${remote.url} is lost; trying again`);
  try {
    for await (const { type, message, data } of followJob(remote, id, { signal, onLost })) {
      if (type === "metrics" && data?.step !== undefined && typeof data.train_loss === "number")
        progress.step({
          step: data.step,
          totalSteps: data.total_steps ?? data.step,
          loss: data.train_loss,
          tokensPerSecond: data.tokens_per_second ?? 0,
        });
      else progress.note(message);
    }
  } finally {
    progress.end();
  }
  return (await remote.api.v1.fine_tuning.jobs[":id"].$get({ param: { id: encodeURIComponent(id) } })).json();
}

/** What is said to who stops watching. */
export const detachedLine = (id: string): string =>
  `job ${id} goes on; \`graft jobs logs ${id} --follow\` follows it, \`graft jobs cancel ${id}\` ends it`;
