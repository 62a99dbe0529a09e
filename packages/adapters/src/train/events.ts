/** What a training run tells while it goes on. */
import type { TrainEvent } from "@graft/core/train";

/** Plain data: it goes over a wire as it is. */
export type TrainRunEvent =
  | Extract<TrainEvent, { type: "step" | "eval" }>
  /** A sentence for a person. */
  | { readonly type: "note"; readonly message: string }
  /** Figures of tasks, by name. */
  | { readonly type: "tasks"; readonly step: number; readonly scores: Readonly<Record<string, number>> }
  /** The folder is whole on the disk. `saveTotalLimit` removes it later. */
  | { readonly type: "checkpoint"; readonly step: number; readonly path: string }
  /** The adapter is in `path`. Stopped: the last checkpoint is where it goes on. */
  | {
      readonly type: "end";
      readonly reason: "finished" | "stopped";
      readonly steps: number;
      readonly path: string;
    };
