/** A training run on the terminal: what `graft train`, `graft demo` and studies do. */
import {
  type TaskEvals,
  trainRun,
  type TrainResult,
  type TrainRunEvent,
  type TrainRunOptions,
} from "@graft/adapters/train";
import type { BaseModel } from "@graft/core/models";
import type { Tokenizer } from "@graft/core/text";
import { type Progress, trainingProgress } from "./progress.ts";

export interface TerminalRun {
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
  /** Steps between lines where there is no terminal. */
  readonly everySteps?: number | undefined;
  readonly taskEvals?: TaskEvals | undefined;
}

/** trainRun, shown as it goes on. */
export async function runTraining(
  model: BaseModel,
  tokenizer: Tokenizer,
  options: TrainRunOptions,
  { signal, log, everySteps, taskEvals }: TerminalRun,
): Promise<TrainResult> {
  const progress = trainingProgress(log, everySteps);
  try {
    return await trainRun(model, tokenizer, options, { signal, taskEvals, onEvent: shownOn(progress) });
  } finally {
    progress.end();
  }
}

/** Says what happens, as a person reads it. */
function shownOn(progress: Progress): (event: TrainRunEvent) => void {
  let checkpoint = "";
  return (event) => {
    switch (event.type) {
      case "step":
        return progress.step(event);
      case "note":
        return progress.note(event.message);
      case "eval":
        return progress.note(
          `step ${event.step}  validation loss ${event.loss.toFixed(4)}${event.isBest ? " (best)" : ""}`,
        );
      case "tasks": {
        const said = Object.entries(event.scores).map(([task, score]) => `${task} ${score.toFixed(3)}`);
        return progress.note(`step ${event.step}  ${said.join("  ")}`);
      }
      case "checkpoint":
        checkpoint = event.path;
        return;
      case "end":
        if (event.reason === "stopped")
          progress.note(`stopped at step ${event.steps}; go on with --resume-from-checkpoint ${checkpoint}`);
        return;
      default:
        event satisfies never;
    }
  };
}
