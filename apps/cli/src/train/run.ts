/** A training run from files to files: what `graft train` and `graft demo` do. */
import {
  type AdapterConfig,
  type Base,
  baseOf,
  bindAdapter,
  createAdapter,
  finishAdapter,
  loadAdapter,
  type LoadedAdapter,
  writeAdapterFiles,
} from "@graft/adapters";
import {
  type Batch,
  createBatches,
  type Example,
  findPromptTemplate,
  readRows,
  splitValidation,
  tokenizeRows,
} from "@graft/core/data";
import { ConfigError, DataError } from "@graft/core/errors";
import { appendText, makeFolder, removePartials, trimJsonLines, writeFilesAtomic } from "@graft/core/io";
import type { BaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import type { Tokenizer } from "@graft/core/text";
import { totalSteps, train, type TrainerOptions, TrainingDiverged, type TrainEvent } from "@graft/core/train";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { checkpointSteps, findCheckpoint, loadCheckpoint, pruneCheckpoints, saveCheckpoint } from "./checkpoint.ts";
import type { Progress } from "./progress.ts";
import { writeTrainingRecord } from "./record.ts";
import type { TaskEvals } from "./task-evals.ts";

export interface TrainRunOptions extends Omit<TrainerOptions, "accumulation"> {
  readonly dataPath: string;
  readonly outputDir: string;
  readonly adapterConfig: AdapterConfig;
  /** An adapter of that config whose values a run begins with; default: fresh ones. */
  readonly fromAdapter?: string | undefined;
  readonly promptTemplate: string;
  readonly cutoffLen: number;
  readonly trainOnInputs: boolean;
  /** Rows kept for validation; at most half of the file is taken. */
  readonly valSetSize: number;
  readonly batchSize: number;
  readonly microBatchSize: number;
  readonly groupByLength: boolean;
  readonly packing: boolean;
  readonly maxRows?: number | undefined;
  readonly saveTotalLimit: number;
  /** A checkpoint folder, or "true" for the newest. */
  readonly resumeFromCheckpoint?: string | undefined;
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

/** Trains and saves. The best validated weights are what ends in outputDir if there is a validation set, else the last. */
export async function trainRun(
  model: BaseModel,
  tokenizer: Tokenizer,
  options: TrainRunOptions,
  tools: { readonly progress: Progress; readonly signal: AbortSignal; readonly taskEvals?: TaskEvals | undefined },
): Promise<TrainResult> {
  const { outputDir } = options;
  const { progress, signal, taskEvals } = tools;
  const base = baseOf(model);
  const { virtualTokens = 0 } = bindAdapter(options.adapterConfig, base, "adapter config");
  makeFolder(outputDir);
  const { training, validation } = await prepareData(model, tokenizer, { ...options, virtualTokens }, progress);
  const checkpoint =
    options.resumeFromCheckpoint === undefined
      ? undefined
      : loadCheckpoint(findCheckpoint(options.resumeFromCheckpoint, outputDir), base, options.adapterConfig);
  const adapter = checkpoint?.adapter ?? (await firstAdapter(options, base));
  if (!adapter.bound.parameters.some((p) => p.trainable))
    throw new ConfigError(
      `${options.fromAdapter ?? "adapter config"}: nothing in it is trainable; name the parts that training may change`,
    );
  const weights = new AdapterWeights(model.device, adapter.bound, adapter.values, "adapter");
  // Of a run that was killed while it wrote.
  removePartials(outputDir);
  const own = ownCheckpoints(outputDir, checkpoint?.resume.state.step, progress);
  const metrics = join(outputDir, "metrics.jsonl");
  let isRecording = false;
  const record = (entry: object): void => {
    // Not before there is something to record: a run that is refused leaves the file as it was.
    if (!isRecording) startMetrics(metrics, checkpoint?.resume.state.step);
    isRecording = true;
    appendText(metrics, `${JSON.stringify(entry)}\n`);
  };
  const snapshot = async (): Promise<LoadedAdapter> => {
    const values = await weights.read();
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
  progress.note(
    `${trainableParameters} trainable parameters, ${totalSteps(training, trainer)} steps of ${trainer.accumulation} x ${options.microBatchSize} rows`,
  );
  try {
    for await (const event of train(model, weights, { training, validation }, trainer, {
      resume: checkpoint?.resume,
      signal,
    })) {
      await handle(event);
    }
  } catch (error) {
    if (!(error instanceof TrainingDiverged)) throw error;
    const last = checkpointSteps(outputDir).findLast((step) => own.has(step));
    const kept =
      last === undefined ? "no checkpoint had been saved" : `${join(outputDir, `checkpoint-${last}`)} is kept`;
    throw new TrainingDiverged(`${error.message}; ${kept}`, { cause: error });
  } finally {
    weights.destroy();
    progress.end();
  }
  const final = finishAdapter(best ?? adapter, base);
  await writeFilesAtomic(outputDir, async (folder) => {
    await writeAdapterFiles(folder, final, base);
    writeTrainingRecord(folder, options, steps);
  });
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

  async function save({ state, optimizer }: Extract<TrainEvent, { type: "save" | "end" }>): Promise<string> {
    const folder = await saveCheckpoint(outputDir, base, {
      adapter: await snapshot(),
      best: state.bestStep === state.step ? undefined : best,
      state,
      optimizer: await optimizer(),
    });
    own.add(state.step);
    return folder;
  }

  function isEvalStep({ step, totalSteps }: Extract<TrainEvent, { type: "step" }>): boolean {
    return step === totalSteps || (options.evalSteps > 0 && step % options.evalSteps === 0);
  }

  async function runTasks(evals: TaskEvals, step: number): Promise<void> {
    // Ctrl-C in the middle ends the tasks; the training then saves and stops as ever.
    const scores = await evals.run(weights, signal).catch((error: unknown) => {
      if (signal.aborted) return undefined;
      throw error;
    });
    if (!scores) return;
    record({ step, tasks: scores });
    taskScores.push({ step, scores });
    const said = Object.entries(scores).map(([task, score]) => `${task} ${score.toFixed(3)}`);
    progress.note(`step ${step}  ${said.join("  ")}`);
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
        progress.step(event);
        if (taskEvals && isEvalStep(event)) await runTasks(taskEvals, event.step);
        return;
      }
      case "eval":
        record({ step: event.step, eval_loss: event.loss });
        evalLosses.push({ step: event.step, loss: event.loss });
        progress.note(`step ${event.step}  validation loss ${event.loss.toFixed(4)}${event.isBest ? " (best)" : ""}`);
        if (event.isBest) best = await snapshot();
        return;
      case "save":
        await save(event);
        pruneCheckpoints(outputDir, own, options.saveTotalLimit, event.state.bestStep);
        return;
      case "end":
        reason = event.reason;
        if (event.reason === "stopped") {
          const folder = await save(event);
          progress.note(`stopped at step ${event.state.step}; go on with --resume-from-checkpoint ${folder}`);
        }
        // The values before the weights are freed: what is saved if nothing was validated.
        best ??= await snapshot();
        return;
      default:
        event satisfies never;
    }
  }
}

/** Steps whose checkpoints in outputDir are of this run: those up to where it resumes. */
function ownCheckpoints(outputDir: string, resumedStep: number | undefined, progress: Progress): Set<number> {
  const steps = checkpointSteps(outputDir);
  if (resumedStep === undefined && steps.length > 0) {
    progress.note(
      `${outputDir} has checkpoints of an earlier run, the newest is checkpoint-${steps.at(-1)}; they stay, --resume-from-checkpoint true goes on from there`,
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

async function prepareData(
  model: BaseModel,
  tokenizer: Tokenizer,
  options: TrainRunOptions & { readonly virtualTokens: number },
  progress: Progress,
): Promise<{ training: ReturnType<typeof createBatches>; validation: Batch[] }> {
  const { virtualTokens } = options;
  const cutoffLen = Math.min(options.cutoffLen, model.config.maxLength - virtualTokens);
  if (cutoffLen < options.cutoffLen) {
    const beside = virtualTokens > 0 ? ` beside ${virtualTokens} virtual tokens` : "";
    progress.note(`cutoff_len ${options.cutoffLen} is longer than the model${beside}; ${cutoffLen} is used`);
  }
  const rows = (await readRows(options.dataPath)).slice(0, options.maxRows);
  const { examples, truncated, unsupervised } = tokenizeRows(rows, tokenizer, {
    template: findPromptTemplate(options.promptTemplate),
    cutoffLen,
    trainOnInputs: options.trainOnInputs,
  });
  if (truncated > 0) progress.note(`${truncated} of ${examples.length} rows were cut at ${cutoffLen} tokens`);
  if (unsupervised > 0)
    progress.note(`${unsupervised} rows have nothing left to learn from: their prompt alone fills ${cutoffLen} tokens`);
  const split =
    options.valSetSize > 0
      ? splitValidation(examples, options.valSetSize, options.seed)
      : { train: examples, validation: [] as Example[] };
  if (split.train.length === 0)
    throw new DataError(`${options.dataPath}: no rows are left to train on after ${options.valSetSize} for validation`);
  const common = {
    batchSize: options.microBatchSize,
    seed: options.seed,
    padId: tokenizer.padId ?? 0,
    virtualTokens,
  };
  const training = createBatches(split.train, {
    ...common,
    groupByLength: options.groupByLength,
    groupSize: options.batchSize,
    packLength: options.packing ? virtualTokens + cutoffLen : undefined,
  });
  if (split.validation.length === 0) return { training, validation: [] };
  const held = createBatches(split.validation, { ...common, shuffle: false });
  return {
    training,
    validation: Array.from({ length: held.batchesPerEpoch }, (_, index) => held.at({ epoch: 0, index })),
  };
}
