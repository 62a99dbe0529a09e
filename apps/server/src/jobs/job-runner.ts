/** Runs fine-tuning jobs on the engine, a few at a time, the oldest first, and writes down what becomes of them. */
import { jobOptions } from "@graft/adapters/train";
import { UnknownName } from "@graft/core/errors";
import { makeFolder } from "@graft/core/io";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "pino";
import type { AdapterShelf } from "../adapter-shelf.ts";
import type { Blobs, JobError, JobRow, Store } from "../db/index.ts";
import { ApiError, EngineUnavailable, errorBody } from "../errors.ts";
import type { Metrics } from "../metrics.ts";
import type { EngineProcess } from "../worker/engine-process.ts";
import { JobRecorder } from "./job-recorder.ts";
import { checkpointName, keptRequest, resultName } from "./job-request.ts";

export interface JobRunnerOptions {
  readonly engine: EngineProcess;
  readonly store: Store;
  readonly blobs: Blobs;
  readonly shelf: AdapterShelf;
  readonly metrics: Pick<Metrics, "trainingStep">;
  readonly log: Logger;
  /** Name of the base. */
  readonly modelName: string;
  /** Folder of the jobs' own folders. */
  readonly jobsDir: string;
  /** Jobs that train at once. */
  readonly maxJobs: number;
  readonly now: () => Date;
}

/** Why a job is asked to end: what becomes of it, and what is said. */
const ends = {
  pause: { to: "paused", message: "Job paused" },
  cancel: { to: "cancelled", message: "Job cancelled" },
  shutdown: { to: "queued", message: "The server stops; the job goes on after it" },
} as const;
type Wish = keyof typeof ends;

interface Running {
  readonly controller: AbortController;
  readonly ended: Promise<void>;
  wish: Wish | undefined;
}

/** Deaths of the engine's process in a row, without a step in between, after which a job is taken for their cause. */
const MAX_DEATHS = 3;

/** Checkpoints of a job that can be asked. */
const KEPT_CHECKPOINTS = 3;

export class JobRunner {
  #options: JobRunnerOptions;
  #running = new Map<string, Running>();
  #listeners = new Map<string, Set<() => void>>();
  #deaths = new Map<string, number>();
  #closing = new AbortController();
  #pumping: Promise<void> = Promise.resolve();

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Aborts when the runner is closed: nothing more will happen to any job. */
  get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /** Looks for jobs that can run: call it when one was created or resumed, and when the engine is there. */
  wake(): void {
    this.#pumping = this.#pumping.then(() => this.#pump()).catch((error: unknown) => this.#complain(error));
  }

  /** A checkpoint is saved first; the job can then be resumed. Throws ApiError 409 in a state that cannot be paused. */
  async pause(id: string): Promise<JobRow> {
    return this.#stop(id, "pause");
  }

  /** Throws ApiError 409 for a job that has ended. */
  async cancel(id: string): Promise<JobRow> {
    return this.#stop(id, "cancel");
  }

  /** Queues a paused job again: it goes on from its last checkpoint, bit for bit. Throws ApiError 409. */
  async resume(id: string): Promise<JobRow> {
    const { store, now } = this.#options;
    // Only a paused job is resumed, although a running one may go back to the queue too.
    const { state } = await store.job(id);
    if (state !== "paused")
      throw new ApiError(409, `a job that is ${state} cannot be resumed`, { code: "wrong_state" });
    const job = await store.moveJob(id, "queued", now(), { events: [info("Job resumed")] });
    this.#notify(id);
    this.wake();
    return job;
  }

  /** Calls `changed` after each write about a job. Returns what ends it. */
  watch(id: string, changed: () => void): () => void {
    const listeners = this.#listeners.get(id) ?? new Set();
    this.#listeners.set(id, listeners.add(changed));
    return () => {
      listeners.delete(changed);
      if (listeners.size === 0) this.#listeners.delete(id);
    };
  }

  /** Running jobs save a checkpoint and are queued again. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#pumping;
    for (const running of this.#running.values()) {
      running.wish ??= "shutdown";
      running.controller.abort();
    }
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  async #stop(id: string, wish: "pause" | "cancel"): Promise<JobRow> {
    const running = this.#running.get(id);
    if (!running) {
      const job = await this.#end(id, wish);
      this.#notify(id);
      return job;
    }
    // A cancel after a pause wins.
    if (running.wish !== "cancel") running.wish = wish;
    running.controller.abort();
    await running.ended;
    return this.#options.store.job(id);
  }

  async #pump(): Promise<void> {
    const { engine, store, maxJobs, now } = this.#options;
    // While the engine is away jobs wait for it: its return wakes this.
    while (!this.closing.aborted && engine.isReady && this.#running.size < maxJobs) {
      const { data } = await store.jobs({ states: ["queued"], order: "asc", limit: maxJobs + 1 });
      // One that was put back is still ending.
      const next = data.find(({ id }) => !this.#running.has(id));
      if (!next) return;
      const job = await store.moveJob(next.id, "running", now());
      const controller = new AbortController();
      const ended = this.#run(job, controller.signal)
        .catch((error: unknown) => this.#complain(error))
        .finally(() => {
          this.#running.delete(job.id);
          this.#notify(job.id);
          this.wake();
        });
      this.#running.set(job.id, { controller, ended, wish: undefined });
    }
  }

  async #run(job: JobRow, signal: AbortSignal): Promise<void> {
    const { engine, store, blobs, shelf, metrics, log, jobsDir, modelName, now } = this.#options;
    const folder = join(jobsDir, job.id);
    const result = resultName(modelName, job);
    const recorder = new JobRecorder(job, { store, now, notify: () => this.#notify(job.id) });
    try {
      makeFolder(folder);
      const training = await store.file(job.trainingFile);
      const validation = job.validationFile === null ? undefined : await store.file(job.validationFile);
      const { spec, from_adapter: fromAdapter } = keptRequest(job);
      const options = {
        ...jobOptions(spec, {
          dataPath: blobs.path(training.sha256),
          validationPath: validation && blobs.path(validation.sha256),
          outputDir: folder,
        }),
        fromAdapter: fromAdapter ?? undefined,
      };
      await recorder.say(job.progress.step === 0 ? "Job started" : `Job goes on after step ${job.progress.step}`);
      for await (const event of engine.train(options, signal)) {
        switch (event.type) {
          case "step":
            this.#deaths.delete(job.id);
            metrics.trainingStep(event);
            await recorder.step(event);
            break;
          case "eval":
            await recorder.evaluation(event);
            break;
          case "checkpoint":
            await shelf.addCheckpoint(checkpointName(result, event.step), job, event);
            await recorder.checkpoint(event, checkpointName(result, event.step));
            await this.#dropOldCheckpoints(job.id, result);
            break;
          case "note":
            await recorder.say(event.message);
            break;
          case "tasks":
            break;
          case "end":
            await recorder.flush();
            if (event.reason === "finished") {
              // The engine knows the name before anybody is told that the job is done.
              const version = await shelf.addResult(result, job, event.path);
              const events = [info(`Job done: ${result} is published`)];
              await store.succeedJob(job.id, { adapter: result, version, events }, now());
              await this.#clear(job.id);
            } else await this.#end(job.id, this.#running.get(job.id)?.wish ?? "shutdown");
            break;
          default:
            event satisfies never;
        }
      }
    } catch (error) {
      await recorder.flush();
      if (error instanceof EngineUnavailable) await this.#died(job.id, error);
      else {
        const { message, code, param } = errorBody(error).error;
        log.warn({ jobId: job.id, err: error }, "job failed");
        await this.#fail(job.id, { code: code ?? "training_failed", message, param });
      }
    }
  }

  /** Only the last ones stay, as OpenAI's do. */
  async #dropOldCheckpoints(id: string, result: string): Promise<void> {
    const { store, shelf } = this.#options;
    const { data } = await store.checkpoints(id, { limit: 1000 });
    for (const { step } of data.slice(KEPT_CHECKPOINTS)) {
      // It may have been deleted by hand.
      await shelf.delete(checkpointName(result, step)).catch((error: unknown) => {
        if (!(error instanceof UnknownName)) throw error;
      });
      await store.deleteCheckpoint(id, step);
    }
  }

  /** What was wished for a job that does not run, or whose run has saved. */
  async #end(id: string, wish: Wish): Promise<JobRow> {
    const { to, message } = ends[wish];
    const { store, now } = this.#options;
    const job = await store.moveJob(id, to, now(), { events: [info(message)] });
    if (wish === "cancel") await this.#clear(id);
    return job;
  }

  async #fail(id: string, error: JobError): Promise<void> {
    const { store, now } = this.#options;
    await store.moveJob(id, "failed", now(), { error, events: [{ level: "error", message: error.message }] });
  }

  /** The engine's process died: the job goes on from its last checkpoint when there is another, unless it seems to be the cause. */
  async #died(id: string, error: EngineUnavailable): Promise<void> {
    const { store, now } = this.#options;
    const wish = this.#running.get(id)?.wish;
    const deaths = (this.#deaths.get(id) ?? 0) + 1;
    this.#deaths.set(id, deaths);
    if (wish === "cancel" || wish === "pause") {
      await this.#end(id, wish);
      return;
    }
    if (!this.closing.aborted && deaths >= MAX_DEATHS) {
      const message = `${error.message}; it died ${deaths} times in a row while this job ran, without a step in between`;
      await this.#fail(id, { code: "engine_died", message, param: null });
      return;
    }
    const message = `${error.message}; the job goes on from its last checkpoint`;
    await store.moveJob(id, "queued", now(), { events: [{ level: "warn", message }] });
  }

  /** What a job that has ended needs no more: its checkpoints' files. */
  async #clear(id: string): Promise<void> {
    await rm(join(this.#options.jobsDir, id), { recursive: true, force: true });
  }

  #notify(id: string): void {
    for (const changed of this.#listeners.get(id) ?? []) changed();
  }

  #complain(error: unknown): void {
    this.#options.log.error({ err: error }, "the job runner met an error");
  }
}

const info = (message: string) => ({ level: "info" as const, message });
