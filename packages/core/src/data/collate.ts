/** Examples to rectangular batches. */
import { IGNORE, type Example } from "./tokenize.ts";

/** What a training step reads. Arrays are [batch, length], row by row. */
export interface Batch {
  readonly inputIds: Int32Array;
  /** Not shifted: the label at t is what the model should say after t - 1. IGNORE where it does not count. */
  readonly labels: Int32Array;
  /** 0 on padding, 1, 2, ... per example of the row. A token attends only within its segment. */
  readonly segmentIds: Int32Array;
  /** 0, 1, ... per example; 0 on padding. */
  readonly positionIds: Int32Array;
  readonly batch: number;
  readonly length: number;
  /** Labels that count; the mean of the loss is over these. */
  readonly supervisedTokens: number;
}

export interface CollateOptions {
  /** Default left, as LLM-Adapters. */
  readonly padSide?: "left" | "right";
  /** Default 0, as LLM-Adapters. */
  readonly padId?: number;
  /** Default 8, as LLM-Adapters. */
  readonly padToMultipleOf?: number;
  /** Rows that the adapter puts before every example (Adapter.virtualTokens); default 0. */
  readonly virtualTokens?: number;
}

/**
 * One batch from rows of examples; a row has one example, or several when packed. As transformers' DataCollatorForSeq2Seq: every row is padded
 * to the longest, rounded up to a multiple. The first label of every example is IGNORE: nothing stands before it that may predict it.
 * (The reference lets a left-padded row predict its first token from a padding position, which attends to nothing.)
 * Virtual token v before an example has the id -(v + 1) and no label.
 */
export function collate(rows: readonly (readonly Example[])[], options: CollateOptions = {}): Batch {
  const { padSide = "left", padId = 0, padToMultipleOf = 8, virtualTokens = 0 } = options;
  const used = rows.map((row) => row.reduce((sum, { ids }) => sum + virtualTokens + ids.length, 0));
  const length = Math.ceil(Math.max(1, ...used) / padToMultipleOf) * padToMultipleOf;
  const size = rows.length * length;
  const inputIds = new Int32Array(size).fill(padId);
  const labels = new Int32Array(size).fill(IGNORE);
  const segmentIds = new Int32Array(size);
  const positionIds = new Int32Array(size);
  rows.forEach((row, r) => {
    let at = r * length + (padSide === "left" ? length - used[r]! : 0);
    row.forEach((example, segment) => {
      const tokens = virtualTokens + example.ids.length;
      for (let v = 0; v < virtualTokens; v++) inputIds[at + v] = -(v + 1);
      inputIds.set(example.ids, at + virtualTokens);
      labels.set(example.labels, at + virtualTokens);
      if (example.ids.length > 0) labels[at + virtualTokens] = IGNORE;
      segmentIds.fill(segment + 1, at, at + tokens);
      for (let t = 0; t < tokens; t++) positionIds[at + t] = t;
      at += tokens;
    });
  });
  const supervisedTokens = labels.reduce((sum, label) => sum + (label === IGNORE ? 0 : 1), 0);
  return { inputIds, labels, segmentIds, positionIds, batch: rows.length, length, supervisedTokens };
}
