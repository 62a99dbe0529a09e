/** The host side of training: batches in, events out. Accumulation, schedule, validation, checkpoints, resume. */
import { type Batch, type Batches, type BatchPosition, IGNORE } from "../data/index.ts";
import { ConfigError } from "../errors/index.ts";
import type { BaseModel } from "../models/index.ts";
import type { AdapterWeights } from "../nn/index.ts";
import type { AdamwOptions } from "./optimizer.ts";
import { scheduleFor } from "./schedule.ts";
import { type MicroBatch, type OptimizerState, TrainStep } from "./train-step.ts";

/** The loss is no number any more: rates are too high, or weights are damaged. What was saved before is untouched. */
export class TrainingDiverged extends Error {
  override name = "TrainingDiverged";
}

export interface TrainerOptions {
  readonly epochs: number;
  /** Ends earlier, whatever the epochs. */
  readonly maxSteps?: number | undefined;
  /** Micro-batches per optimizer step. */
  readonly accumulation: number;
  readonly learningRate: number;
  readonly schedule: string;
  readonly warmupSteps: number;
  readonly optimizer: AdamwOptions;
  readonly maxGradNorm: number;
  /** "token": mean over all supervised tokens of a step (transformers since 4.46); "micro": mean of the micro-batches' means (before). */
  readonly lossReduction: "token" | "micro";
  readonly gradientCheckpointing: boolean;
  readonly seed: number;
  /** Optimizer steps between validations and between checkpoints; 0: never. */
  readonly evalSteps: number;
  readonly saveSteps: number;
}

/** Where a run is: what a checkpoint holds beside weights and optimizer state. */
export interface TrainerState {
  /** Optimizer steps done. */
  readonly step: number;
  readonly next: BatchPosition;
  /** Of the training batches and their order. */
  readonly fingerprint: string;
  readonly bestEvalLoss: number | null;
  readonly bestStep: number | null;
}

export type TrainEvent =
  | {
      readonly type: "step";
      readonly step: number;
      readonly totalSteps: number;
      /** Fractional. */
      readonly epoch: number;
      readonly loss: number;
      readonly learningRate: number;
      readonly gradNorm: number;
      readonly tokens: number;
      readonly tokensPerSecond: number;
    }
  | { readonly type: "eval"; readonly step: number; readonly loss: number; readonly isBest: boolean }
  /** The caller saves now: weights, optimizer state, trainer state. */
  | { readonly type: "save"; readonly state: TrainerState; readonly optimizer: () => Promise<OptimizerState> }
  | {
      readonly type: "end";
      readonly state: TrainerState;
      readonly reason: "finished" | "stopped";
      readonly optimizer: () => Promise<OptimizerState>;
    };

export interface Resume {
  readonly state: TrainerState;
  readonly optimizer: OptimizerState;
}

/** Runs device work when it is its turn, alone: an engine puts decoding in between. The work is short, and never asks for another turn. */
export type Turn = <T>(work: () => Promise<T>) => Promise<T>;

export interface TrainRunTools {
  readonly resume?: Resume | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly now?: (() => number) | undefined;
  /** Default: every turn is ours. */
  readonly turn?: Turn | undefined;
}

/** The turn of who shares the device with nobody. */
export const ownTurn: Turn = (work) => work();

/** Optimizer steps of a whole run. The last step of an epoch may have fewer micro-batches, as in transformers. */
export function totalSteps(
  batches: Pick<Batches, "batchesPerEpoch">,
  { epochs, accumulation, maxSteps }: Pick<TrainerOptions, "epochs" | "accumulation" | "maxSteps">,
): number {
  const perEpoch = Math.ceil(batches.batchesPerEpoch / accumulation);
  return Math.min(maxSteps ?? Number.POSITIVE_INFINITY, Math.ceil(perEpoch * epochs));
}

/**
 * Trains until the steps are done or the signal aborts, and yields what happened. Weights change on the device. The same options, data and seed give the same
 * numbers, whether in one run or resumed, and whatever runs between its turns: each micro-batch, update and validation batch is one, and so is making a program.
 * Throws TrainingDiverged when the loss is not finite, ConfigError when a resumed state belongs to other data.
 */
export async function* train(
  model: BaseModel,
  weights: AdapterWeights,
  data: { readonly training: Batches; readonly validation?: readonly Batch[] },
  options: TrainerOptions,
  run: TrainRunTools = {},
): AsyncGenerator<TrainEvent> {
  const { training } = data;
  const { resume, signal, now = () => performance.now(), turn = ownTurn } = run;
  const total = totalSteps(training, options);
  const schedule = scheduleFor(options.schedule, { warmupSteps: options.warmupSteps, totalSteps: total });
  let state: TrainerState = resume?.state ?? {
    step: 0,
    next: { epoch: 0, index: 0 },
    fingerprint: training.fingerprint,
    bestEvalLoss: null,
    bestStep: null,
  };
  if (state.fingerprint !== training.fingerprint) {
    throw new ConfigError(
      "the checkpoint was trained on other data or with other batch settings; resume with the same, or start anew",
    );
  }
  const { optimizer: adamw, maxGradNorm, gradientCheckpointing } = options;
  const device = await turn(
    async () => new TrainStep(model, weights, { optimizer: adamw, maxGradNorm, gradientCheckpointing }),
  );
  const optimizer = () => turn(() => device.state());
  try {
    if (resume) await turn(async () => device.restore(resume.optimizer));
    while (state.step < total) {
      if (signal?.aborted) {
        yield { type: "end", state, reason: "stopped", optimizer };
        return;
      }
      const started = now();
      const { micros, next } = microBatches(training, state.next, options.accumulation);
      const supervised = micros.reduce((sum, batch) => sum + batch.supervisedTokens, 0);
      let loss = 0;
      for (const [i, batch] of micros.entries()) {
        const own = Math.max(1, batch.supervisedTokens);
        const lossScale = options.lossReduction === "token" ? 1 / Math.max(1, supervised) : 1 / own / micros.length;
        // Each micro-batch has masks of its own.
        const step = state.step * options.accumulation + i;
        // The penalty counts once for each optimizer step.
        const micro = { lossScale, penaltyScale: 1 / micros.length, isFirst: i === 0, seed: options.seed, step };
        if (!device.isPrepared("train", batch)) await turn(() => device.prepare("train", batch));
        loss += await turn(() => device.micro(toMicro(batch), micro));
      }
      const learningRate = options.learningRate * schedule(state.step);
      if (!Number.isFinite(loss)) throw diverged(`the loss of step ${state.step + 1} is ${loss}`, learningRate, state);
      const gradNorm = await turn(() => device.update(learningRate, state.step + 1));
      if (!Number.isFinite(gradNorm))
        throw diverged(`the gradient norm of step ${state.step + 1} is ${gradNorm}`, learningRate, state);
      state = { ...state, step: state.step + 1, next };
      const tokens = micros.reduce((sum, batch) => sum + batch.batch * batch.length, 0);
      const epoch = next.epoch + next.index / training.batchesPerEpoch;
      const seconds = (now() - started) / 1000;
      yield {
        type: "step",
        step: state.step,
        totalSteps: total,
        epoch,
        loss,
        learningRate,
        gradNorm,
        tokens,
        tokensPerSecond: tokens / seconds,
      };

      const isLast = state.step === total;
      if (
        data.validation &&
        data.validation.length > 0 &&
        (isLast || (options.evalSteps > 0 && state.step % options.evalSteps === 0))
      ) {
        const evalLoss = await evaluate(device, data.validation, turn);
        if (!Number.isFinite(evalLoss))
          throw diverged(`the validation loss after step ${state.step} is ${evalLoss}`, learningRate, state);
        const isBest = state.bestEvalLoss === null || evalLoss < state.bestEvalLoss;
        if (isBest) state = { ...state, bestEvalLoss: evalLoss, bestStep: state.step };
        yield { type: "eval", step: state.step, loss: evalLoss, isBest };
      }
      if (!isLast && options.saveSteps > 0 && state.step % options.saveSteps === 0)
        yield { type: "save", state, optimizer };
    }
    yield { type: "end", state, reason: "finished", optimizer };
  } finally {
    await turn(async () => device.destroy());
  }
}

function diverged(what: string, learningRate: number, { step }: TrainerState): TrainingDiverged {
  // Before the first update nothing that was trained can be the cause.
  const advice =
    step === 0
      ? "the base's weights are damaged, or too large for their dtype"
      : "try a lower learning rate, or more steps of warm-up";
  return new TrainingDiverged(`${what} at learning rate ${learningRate}: training stopped; ${advice}`);
}

/** Mean loss per supervised token, in nats. */
async function evaluate(device: TrainStep, batches: readonly Batch[], turn: Turn): Promise<number> {
  let sum = 0;
  let tokens = 0;
  for (const batch of batches) {
    if (!device.isPrepared("evaluate", batch)) await turn(() => device.prepare("evaluate", batch));
    sum += await turn(() => device.evaluate(toMicro(batch)));
    tokens += batch.supervisedTokens;
  }
  return sum / Math.max(1, tokens);
}

/** The micro-batches of one optimizer step: never over the end of an epoch. */
function microBatches(
  training: Batches,
  position: BatchPosition,
  accumulation: number,
): { micros: Batch[]; next: BatchPosition } {
  const micros: Batch[] = [];
  let next = position;
  for (const entry of training.from(position)) {
    if (entry.position.epoch !== position.epoch || micros.length === accumulation) break;
    micros.push(entry.batch);
    next = entry.next;
  }
  return { micros, next };
}

/** Labels move one place: the graph wants the token that follows each position. */
export function toMicro({ inputIds, labels, positionIds, segmentIds, batch, length }: Batch): MicroBatch {
  const shifted = new Int32Array(labels.length).fill(IGNORE);
  for (let i = 0; i < labels.length; i++) if ((i + 1) % length !== 0) shifted[i] = labels[i + 1]!;
  return { batch, length, ids: inputIds, labels: shifted, positions: positionIds, segments: segmentIds };
}
