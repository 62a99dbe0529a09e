/** Whole-sequence passes for verification: logits, loss and intermediate values of a padded batch. */
import { Arena, plan, Program } from "@graft/core/graph";
import { type BaseModel, traceModelOf, traceSequences } from "@graft/core/models";
import { argmax } from "@graft/core/generate";
import { type AdapterWeights, virtualIdsOf } from "@graft/core/nn";
import type { SafetensorsFile } from "@graft/core/io";
import type { MicroBatch } from "@graft/core/train";
import { type Case, integers } from "./case.ts";

export interface PaddedBatch extends MicroBatch {
  /** Positions that carry a label. */
  readonly supervised: number;
}

/** Rows of an adapter's virtual tokens in a reference batch. */
export interface VirtualRows {
  /** Before the padding of each row. */
  readonly ids: readonly number[];
  /** The reference's logits have them too, so that the last one predicts the first token. */
  readonly areInLogits: boolean;
}

/** What a case says of an adapter's virtual tokens. */
export function virtualRowsOf({ info }: Case, weights: AdapterWeights): VirtualRows {
  return {
    ids: virtualIdsOf(weights.adapter),
    areInLogits: ((info.num_virtual_positions_in_logits ?? 0) as number) > 0,
  };
}

/**
 * A reference batch (labels on their own tokens, -100 to ignore) as the graph takes it. Without position ids, positions count from 0, padding included unless
 * the model says otherwise. Virtual tokens stand before the padding.
 */
export function paddedBatch(
  shape: readonly number[],
  tokenIds: Int32Array,
  options: {
    readonly mask?: Int32Array;
    readonly labels?: Int32Array;
    readonly positions?: Int32Array;
    readonly countsPadding: boolean;
    readonly virtual?: VirtualRows;
  },
): PaddedBatch {
  const { ids: virtual, areInLogits } = options.virtual ?? { ids: [], areInLogits: false };
  const [batch, columns] = shape as [number, number];
  const length = virtual.length + columns;
  const after = (before: (v: number) => number, own: Int32Array): Int32Array =>
    Int32Array.from({ length: batch * length }, (_, i) => {
      const column = (i % length) - virtual.length;
      return column < 0 ? before(i % length) : own[Math.floor(i / length) * columns + column]!;
    });
  const ids = after((v) => virtual[v]!, tokenIds);
  const segments = after(() => 1, options.mask ?? new Int32Array(batch * columns).fill(1));
  const own = after(() => -100, options.labels ?? new Int32Array(batch * columns).fill(-100));
  const labels = new Int32Array(batch * length).fill(-100);
  let supervised = 0;
  for (let i = 0; i < labels.length; i++) {
    const column = (i + 1) % length;
    const isPredicted = column !== 0 && (areInLogits || column !== virtual.length);
    const next = isPredicted ? own[i + 1]! : -100;
    labels[i] = next;
    if (next >= 0) supervised++;
  }
  return {
    batch,
    length,
    ids,
    labels,
    positions: options.positions ?? defaultPositions(length, segments, options.countsPadding),
    segments,
    supervised,
  };
}

/** 0, 1, ... in each row: over all tokens, or over those that are no padding. */
function defaultPositions(length: number, segments: Int32Array, countsPadding: boolean): Int32Array {
  let next = 0;
  return segments.map((segment, i) => {
    if (i % length === 0) next = 0;
    if (countsPadding || segment !== 0) return next++;
    return Math.max(0, next - 1);
  });
}

/** The fixed training batches of a case: train.input_ids, .attention_mask and .labels, [batches, rows, length]. */
export function trainingBatches(
  file: SafetensorsFile,
  options: { readonly countsPadding: boolean; readonly virtual?: VirtualRows },
): PaddedBatch[] {
  const [ids, mask, labels] = ["input_ids", "attention_mask", "labels"].map((name) => integers(file, `train.${name}`));
  const [batches, ...shape] = ids!.shape as [number, ...number[]];
  const size = ids!.data.length / batches;
  return Array.from({ length: batches }, (_, i) => {
    const part = ({ data }: { data: Int32Array }) => data.slice(i * size, (i + 1) * size);
    return paddedBatch(shape, part(ids!), { mask: part(mask!), labels: part(labels!), ...options });
  });
}

/** Logits [tokens, vocab], mean loss, and the taps asked for. */
export async function runSequences(
  model: BaseModel,
  batch: PaddedBatch,
  options: { readonly adapter?: AdapterWeights; readonly taps?: readonly string[] } = {},
): Promise<{ logits: Float32Array; loss: number; taps: Map<string, Float32Array> }> {
  const trace = traceSequences(traceModelOf(model), batch, { adapter: options.adapter?.adapter });
  const names = (options.taps ?? []).filter((name) => trace.context.taps.has(name));
  const outputs = [trace.logits, trace.loss, ...names.map((name) => trace.context.taps.get(name)!)];
  const made = plan(trace.graph, outputs, model.device.capabilities);
  const resolve = (name: string) =>
    name.startsWith("base/")
      ? model.weights.get(name.slice(5))!.buffer
      : options.adapter!.buffers.get(name.slice("adapter/0/".length))!;
  const program = await Program.bind(model.device, new Arena(model.device), made, resolve, "verify");
  try {
    const { ids, labels, positions, segments, supervised } = batch;
    const [logits, loss, ...rest] = await program.run({
      ids,
      labels,
      positions,
      segments,
      lossScale: Float32Array.of(1 / Math.max(1, supervised)),
      penaltyScale: Float32Array.of(1),
    });
    return {
      logits: logits as Float32Array,
      loss: loss![0]!,
      taps: new Map(names.map((name, i) => [name, rest[i] as Float32Array])),
    };
  } finally {
    program.destroy();
  }
}

/**
 * Greedy continuations of one left-padded row by whole passes, padding and positions as in paddedBatch: what generate() of PEFT comes to where
 * virtual tokens are embeddings.
 */
export async function greedyByPasses(
  model: BaseModel,
  row: { readonly ids: Int32Array; readonly mask: Int32Array; readonly virtual: VirtualRows },
  newTokens: number,
  adapter: AdapterWeights,
): Promise<number[]> {
  const ids = [...row.ids];
  const mask = [...row.mask];
  for (let i = 0; i < newTokens; i++) {
    const batch = paddedBatch([1, ids.length], Int32Array.from(ids), {
      mask: Int32Array.from(mask),
      countsPadding: model.definition.countsPadding,
      virtual: row.virtual,
    });
    const { logits } = await runSequences(model, batch, { adapter });
    ids.push(argmax(logits.subarray(-model.config.vocabSize)));
    mask.push(1);
  }
  return ids.slice(row.ids.length);
}

/** Prompts of a left-padded batch without their padding. */
export function unpadded(ids: Int32Array, mask: Int32Array, length: number): number[][] {
  return Array.from({ length: ids.length / length }, (_, row) =>
    [...ids.subarray(row * length, (row + 1) * length)].filter((_, i) => mask[row * length + i] === 1),
  );
}
