/** Writes down what a training job tells: its progress, and events that anybody may follow. */
import type { TrainRunEvent } from "@graft/adapters/train";
import type { JobRow, NewEvent, Store } from "../db/index.ts";

export interface JobRecorderOptions {
  readonly store: Store;
  readonly now: () => Date;
  /** Called after each write. */
  readonly notify: () => void;
}

type StepEvent = Extract<TrainRunEvent, { type: "step" }>;
type CheckpointEvent = Extract<TrainRunEvent, { type: "checkpoint" }>;
type EvalEvent = Extract<TrainRunEvent, { type: "eval" }>;

/** Steps may be quicker than a disk: what came within this time is written together. */
const FLUSH_MS = 200;

export class JobRecorder {
  #job: JobRow;
  #options: JobRecorderOptions;
  #events: NewEvent[] = [];
  #last: StepEvent | undefined;
  #validLoss: number | null = null;
  #tokens: number;
  /** A run that goes on from a checkpoint does again what was recorded after it, to the same numbers. */
  #recorded: number;
  #secondsPerStep: number | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(job: JobRow, options: JobRecorderOptions) {
    this.#job = job;
    this.#options = options;
    this.#recorded = job.progress.step;
    this.#tokens = job.progress.trainedTokens;
  }

  async step(event: StepEvent): Promise<void> {
    this.#last = event;
    const seconds = event.tokens / event.tokensPerSecond;
    this.#secondsPerStep = this.#secondsPerStep === undefined ? seconds : 0.9 * this.#secondsPerStep + 0.1 * seconds;
    if (event.step <= this.#recorded) return;
    this.#recorded = event.step;
    this.#tokens += event.tokens;
    this.#events.push(
      metricsEvent(`Step ${event.step}/${event.totalSteps}: training loss=${event.loss.toFixed(4)}`, {
        step: event.step,
        total_steps: event.totalSteps,
        epoch: event.epoch,
        train_loss: event.loss,
        learning_rate: event.learningRate,
        grad_norm: event.gradNorm,
        tokens_per_second: event.tokensPerSecond,
      }),
    );
    this.#timer ??= setTimeout(() => void this.flush(), FLUSH_MS);
  }

  async evaluation({ step, loss, isBest }: EvalEvent): Promise<void> {
    this.#validLoss = loss;
    // That of the last recorded step may be missing: it comes after the step.
    if (step < this.#recorded) return;
    const message = `Step ${step}: validation loss=${loss.toFixed(4)}${isBest ? " (best)" : ""}`;
    this.#events.push(metricsEvent(message, { step, valid_loss: loss }));
    await this.flush();
  }

  /** `adapter`: the name under which it can be asked. */
  async checkpoint({ step, path }: CheckpointEvent, adapter: string): Promise<void> {
    await this.flush();
    const { store, now } = this.#options;
    const metrics = {
      step,
      train_loss: this.#last?.loss ?? null,
      ...(this.#validLoss === null ? {} : { valid_loss: this.#validLoss }),
    };
    await store.addCheckpoint(this.#job.id, { step, path, metrics }, now());
    await this.say(`Checkpoint created at step ${step}: ${adapter}`);
  }

  async say(message: string): Promise<void> {
    this.#events.push({ level: "info", message });
    await this.flush();
  }

  /** Everything that was told is on disk when it resolves. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    const events = this.#events.splice(0);
    if (events.length === 0) return;
    const { store, now, notify } = this.#options;
    const last = this.#last;
    const left = last ? last.totalSteps - last.step : 0;
    const progress = last && {
      step: this.#recorded,
      totalSteps: last.totalSteps,
      loss: last.loss,
      trainedTokens: this.#tokens,
      estimatedFinish: Math.ceil(now().getTime() / 1000 + left * (this.#secondsPerStep ?? 0)),
    };
    await store.addEvents(this.#job.id, events, now(), progress);
    notify();
  }
}

function metricsEvent(message: string, data: Readonly<Record<string, number>>): NewEvent {
  return { level: "info", type: "metrics", message, data };
}
