/** What a fine-tuning job costs the streams beside it. */
import type { Remote } from "../remote/client.ts";
import { hasEnded, pause } from "../remote/events.ts";
import { jobLine } from "../remote/job-text.ts";
import { RemoteError } from "../remote/remote-error.ts";
import { uploadTrainingFile } from "../remote/upload.ts";

export interface BenchJob {
  /** Trains, and has made a step since. */
  resume(): Promise<void>;
  /** Has saved and given the device back. */
  pause(): Promise<void>;
  /** Steps so far. */
  steps(): Promise<number>;
  /** Ends it and takes its file away. */
  end(): Promise<void>;
}

/** A job that trains a LoRA on a file, paused as it begins; it would go on far longer than a measurement does. Throws RemoteError, ConfigError for what is no file. */
export async function startBenchJob(
  remote: Remote,
  model: string,
  path: string,
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<BenchJob> {
  const { jobs } = remote.api.v1.fine_tuning;
  const file = await uploadTrainingFile(remote, path, log);
  const created = await jobs.$post({
    json: {
      model,
      training_file: file,
      suffix: "bench",
      method: {
        type: "supervised",
        supervised: { hyperparameters: { max_steps: 1_000_000, n_epochs: 1_000_000, save_steps: 0, eval_steps: 0 } },
      },
    },
  });
  const { id } = await created.json();
  const param = { id: encodeURIComponent(id) };
  const look = async () => (await jobs[":id"].$get({ param })).json();
  /** Throws RemoteError for a job that has ended. */
  const until = async (isSo: (job: Awaited<ReturnType<typeof look>>) => boolean): Promise<void> => {
    for (let job = await look(); !isSo(job); job = await look()) {
      if (hasEnded(job)) throw new RemoteError(jobLine(job));
      await pause(50, signal);
    }
  };
  const steps = async (): Promise<number> => (await look()).graft.step;
  const job: BenchJob = {
    steps,
    async resume() {
      const before = await steps();
      await jobs[":id"].resume.$post({ param });
      await until(({ graft }) => graft.step > before);
    },
    async pause() {
      await jobs[":id"].pause.$post({ param });
      await until(({ status }) => status === "paused");
    },
    async end() {
      // Also after Ctrl-C: the server may be somebody else's.
      const options = { init: { signal: AbortSignal.timeout(30_000) } };
      if (!hasEnded(await (await jobs[":id"].$get({ param }, options)).json()))
        await jobs[":id"].cancel.$post({ param }, options);
      await remote.api.v1.files[":id"].$delete({ param: { id: file } }, options);
    },
  };
  try {
    await until(({ graft }) => graft.step > 0);
    await job.pause();
  } catch (error) {
    // What went wrong is on its way already.
    await job.end().catch(() => undefined);
    throw error;
  }
  return job;
}
