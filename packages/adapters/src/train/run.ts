/** A training run from files to files: the adapter, its checkpoints and its metrics. */
import { ConfigError } from "@graft/core/errors";
import { appendText, makeFolder, removePartials, trimJsonLines, writeFilesAtomic } from "@graft/core/io";
import type { BaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import type { Tokenizer } from "@graft/core/text";
import {
  ownTurn,
  totalSteps,
  train,
  type TrainerOptions,
  TrainingDiverged,
  type TrainEvent,
  type Turn,
} from "@graft/core/train";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import {
  type AdapterConfig,
  bindAdapter,
  createAdapter,
  finishAdapter,
  loadAdapter,
  type LoadedAdapter,
  writeAdapterFiles,
} from "../adapter.ts";
import { baseOf } from "../base.ts";
import type { Base } from "../method.ts";
import { checkpointSteps, findCheckpoint, loadCheckpoint, pruneCheckpoints, saveCheckpoint } from "./checkpoint.ts";
import { prepareData } from "./data.ts";
import type { TrainRunEvent } from "./events.ts";
import { writeTrainingRecord } from "./record.ts";

export interface TrainRunOptions extends Omit<TrainerOptions, "accumulation"> {
  /** Instructions, chats or completions: readTrainingRows. */
  readonly dataPath: string;
  /** Rows to validate on, in place of valSetSize. */
  readonly validationPath?: string | undefined;
  readonly outputDir: string;
  readonly adapterConfig: AdapterConfig;
  /** An adapter of that config whose values a run begins with; default: fresh ones. */
  readonly fromAdapter?: string | undefined;
  /** Of instructions; the other formats have none. */
  readonly promptTemplate: string;
  readonly cutoffLen: number;
  /** Default: that of the data's format. */
  readonly trainOnInputs?: boolean | undefined;
  /** Rows kept for validation, or a fraction of them. */
  readonly valSetSize: number;
  readonly batchSize: number;
  readonly microBatchSize: number;
  readonly groupByLength: boolean;
  readonly packing: boolean;
  readonly maxRows?: number | undefined;
  readonly saveTotalLimit: number;
  /** A checkpoint folder, or "true" for the newest. */
  readonly resumeFromCheckpoint?: string | undefined;
  /** Goes on from the newest checkpoint if there is one, else starts anew. */
  readonly resume?: "ifAny" | undefined;
}

/** Tasks that are run on the adapter at each validation and at the end. */
export interface TaskEvals {
  /** The figure of each task, with the values that the adapter has now. */
  run(weights: AdapterWeights, signal: AbortSignal): Promise<Readonly<Record<string, number>>>;
}

export interface TrainTools {
  /** Aborted, the run saves a checkpoint and ends. */
  readonly signal: AbortSignal;
  readonly onEvent?: ((event: TrainRunEvent) => void) | undefined;
  /** All work on the device goes through it: of a task evaluation the whole, of everything else a short piece. */
  readonly turn?: Turn | undefined;
  readonly taskEvals?: TaskEvals | undefined;
  /** Milliseconds; for the speed alone. */
  readonly now?: (() => number) | undefined;
}

export interface TrainResult {
  readonly adapter: LoadedAdapter;
  readonly losses: readonly number[];
  readonly evalLosses: readonly { readonly step: number; readonly loss: number }[];
  /** The figures of tasks that were run in between. */
  readonly taskScores: readonly { readonly step: number; readonly scores: Readonly<Record<string, number>> }[];
  readonly steps: number;
  readonly trainableParameters: number;
  readonly reason: "finished" | "stopped";
  /** Over the whole run, padding counted. */
  readonly tokensPerSecond: number;
}

/** What a run begins with. */
async function firstAdapter({ fromAdapter, adapterConfig, seed }: TrainRunOptions, base: Base): Promise<LoadedAdapter> {
  if (fromAdapter === undefined) return createAdapter(adapterConfig, base, seed);
  // Trained on, it is another adapter: in f32, with a config that is written anew.
  const { config, bound, values } = loadAdapter(fromAdapter, base);
  return { config, bound, values };
}

/** The newest checkpoint or the one that was named; undefined for a fresh run. */
function resumedFolder({ resumeFromCheckpoint, resume, outputDir }: TrainRunOptions): string | undefined {
  if (resumeFromCheckpoint !== undefined) return findCheckpoint(resumeFromCheckpoint, outputDir);
  return resume === "ifAny" && checkpointSteps(outputDir).length > 0 ? findCheckpoint("true", outputDir) : undefined;
}

/** The view of a base whose weights are read in turns. */
function baseInTurns(model: BaseModel, turn: Turn): Base {
  const base = baseOf(model);
  return { ...base, read: (name) => turn(() => base.read(name)) };
}

/**
 * Trains and saves. The best validated weights are what ends in outputDir if there is a validation set, else the last. Resumed, a run gives bit for bit the files of one that was
 * never stopped. Throws what reading the data and the adapter throws, and TrainingDiverged.
 */
export async function trainRun(
  model: BaseModel,
  tokenizer: Tokenizer,
  options: TrainRunOptions,
  { signal, onEvent = () => undefined, turn = ownTurn, taskEvals, now }: TrainTools,
): Promise<TrainResult> {
  const { outputDir } = options;
  const note = (message: string): void => onEvent({ type: "note", message });
  const base = baseInTurns(model, turn);
  const { virtualTokens = 0 } = bindAdapter(options.adapterConfig, base, "adapter config");
  makeFolder(outputDir);
  const limits = { maxLength: model.config.maxLength, virtualTokens };
  const { format, training, validation } = await prepareData(options, tokenizer, limits, note);
  const from = resumedFolder(options);
  const checkpoint = from === undefined ? undefined : loadCheckpoint(from, base, options.adapterConfig);
  const adapter = checkpoint?.adapter ?? (await firstAdapter(options, base));
  if (!adapter.bound.parameters.some((p) => p.trainable))
    throw new ConfigError(
      `${options.fromAdapter ?? "adapter config"}: nothing in it is trainable; name the parts that training may change`,
    );
  // Of a run that was killed while it wrote.
  removePartials(outputDir);
  const own = ownCheckpoints(outputDir, checkpoint?.resume.state.step, note);
  const metrics = join(outputDir, "metrics.jsonl");
  let isRecording = false;
  const record = (entry: object): void => {
    // Not before there is something to record: a run that is refused leaves the file as it was.
    if (!isRecording) startMetrics(metrics, checkpoint?.resume.state.step);
    isRecording = true;
    appendText(metrics, `${JSON.stringify(entry)}\n`);
  };
  const snapshot = async (): Promise<LoadedAdapter> => {
    const values = await turn(() => weights.read());
    // An update can overflow after a loss that was still a number: such weights must not take the place of good ones.
    for (const [key, numbers] of values) {
      if (!numbers.every(Number.isFinite))
        throw new TrainingDiverged(
          `${key} has values that are no numbers after step ${steps}: training stopped; try a lower learning rate`,
        );
    }
    return { ...adapter, values };
  };

  const trainableParameters = adapter.bound.parameters
    .filter((p) => p.trainable)
    .reduce((sum, p) => sum + p.shape.reduce((a, b) => a * b, 1), 0);
  const losses: number[] = [];
  const evalLosses: { step: number; loss: number }[] = [];
  const taskScores: { step: number; scores: Readonly<Record<string, number>> }[] = [];
  let best = checkpoint?.best;
  let reason: TrainResult["reason"] = "finished";
  let steps = checkpoint?.resume.state.step ?? 0;
  let tokens = 0;
  let seconds = 0;
  const trainer: TrainerOptions = {
    ...options,
    accumulation: Math.max(1, Math.floor(options.batchSize / options.microBatchSize)),
  };
  note(
    `${trainableParameters} trainable parameters, ${totalSteps(training, trainer)} steps of ${trainer.accumulation} x ${options.microBatchSize} rows`,
  );
  const weights = await turn(async () => new AdapterWeights(model.device, adapter.bound, adapter.values, "adapter"));
  try {
    const resume = checkpoint?.resume;
    for await (const event of train(model, weights, { training, validation }, trainer, { resume, signal, turn, now }))
      await handle(event);
  } catch (error) {
    if (!(error instanceof TrainingDiverged)) throw error;
    const last = checkpointSteps(outputDir).findLast((step) => own.has(step));
    const kept =
      last === undefined ? "no checkpoint had been saved" : `${join(outputDir, `checkpoint-${last}`)} is kept`;
    throw new TrainingDiverged(`${error.message}; ${kept}`, { cause: error });
  } finally {
    await turn(async () => weights.destroy());
  }
  const final = finishAdapter(best ?? adapter, base);
  await writeFilesAtomic(outputDir, async (folder) => {
    await writeAdapterFiles(folder, final, base);
    await writeTrainingRecord(folder, options, { format, steps });
  });
  onEvent({ type: "end", reason, steps, path: outputDir });
  return {
    adapter: final,
    losses,
    evalLosses,
    taskScores,
    steps,
    trainableParameters,
    reason,
    tokensPerSecond: seconds > 0 ? tokens / seconds : 0,
  };

  async function save({ state, optimizer }: Extract<TrainEvent, { type: "save" | "end" }>): Promise<void> {
    const folder = await saveCheckpoint(outputDir, base, {
      adapter: await snapshot(),
      best: state.bestStep === state.step ? undefined : best,
      state,
      optimizer: await optimizer(),
    });
    own.add(state.step);
    onEvent({ type: "checkpoint", step: state.step, path: folder });
  }

  function isEvalStep({ step, totalSteps }: Extract<TrainEvent, { type: "step" }>): boolean {
    return step === totalSteps || (options.evalSteps > 0 && step % options.evalSteps === 0);
  }

  async function runTasks(evals: TaskEvals, step: number): Promise<void> {
    // Ctrl-C in the middle ends the tasks; the training then saves and stops as ever.
    const scores = await turn(() => evals.run(weights, signal)).catch((error: unknown) => {
      if (signal.aborted) return undefined;
      throw error;
    });
    if (!scores) return;
    record({ step, tasks: scores });
    taskScores.push({ step, scores });
    onEvent({ type: "tasks", step, scores });
  }

  async function handle(event: TrainEvent): Promise<void> {
    switch (event.type) {
      case "step": {
        const { type: _, ...numbers } = event;
        record(numbers);
        losses.push(event.loss);
        steps = event.step;
        tokens += event.tokens;
        seconds += event.tokens / event.tokensPerSecond;
        onEvent(event);
        if (taskEvals && isEvalStep(event)) await runTasks(taskEvals, event.step);
        return;
      }
      case "eval":
        record({ step: event.step, eval_loss: event.loss });
        evalLosses.push({ step: event.step, loss: event.loss });
        onEvent(event);
        if (event.isBest) best = await snapshot();
        return;
      case "save":
        await save(event);
        pruneCheckpoints(outputDir, own, options.saveTotalLimit, event.state.bestStep);
        return;
      case "end":
        reason = event.reason;
        if (event.reason === "stopped") await save(event);
        // The values before the weights are freed: what is saved if nothing was validated.
        best ??= await snapshot();
        return;
      default:
        event satisfies never;
    }
  }
}

/** Steps whose checkpoints in outputDir are of this run: those up to where it resumes. */
function ownCheckpoints(
  outputDir: string,
  resumedStep: number | undefined,
  note: (message: string) => void,
): Set<number> {
  const steps = checkpointSteps(outputDir);
  if (resumedStep === undefined && steps.length > 0) {
    note(
      `${outputDir} has checkpoints of an earlier run, the newest is checkpoint-${steps.at(-1)}; they stay, resume_from_checkpoint true goes on from there`,
    );
  }
  return new Set(steps.filter((step) => resumedStep !== undefined && step <= resumedStep));
}

/** A fresh run begins its metrics anew; a resumed one keeps what was recorded up to its checkpoint, and does the rest again. */
function startMetrics(path: string, resumedStep: number | undefined): void {
  if (resumedStep === undefined) rmSync(path, { force: true });
  else if (existsSync(path)) {
    const line = z.object({ step: z.number() });
    trimJsonLines(path, (value) => (line.safeParse(value).data?.step ?? Number.POSITIVE_INFINITY) <= resumedStep);
  }
}
