/** Whole-sequence passes for verification: logits, loss and intermediate values of a padded batch. */
import { Arena, plan, Program } from "@graft/core/graph";
import { type BaseModel, traceModelOf, traceSequences } from "@graft/core/models";
import type { AdapterWeights } from "@graft/core/nn";
import type { SafetensorsFile } from "@graft/core/io";
import type { MicroBatch } from "@graft/core/train";
import { integers } from "./case.ts";

export interface PaddedBatch extends MicroBatch {
  /** Positions that carry a label. */
  readonly supervised: number;
}

/** A reference batch (labels on their own tokens, -100 to ignore) as the graph takes it. Without position ids, positions count from 0, padding included. */
export function paddedBatch(
  shape: readonly number[],
  ids: Int32Array,
  options: { readonly mask?: Int32Array; readonly labels?: Int32Array; readonly positions?: Int32Array },
): PaddedBatch {
  const [batch, length] = shape as [number, number];
  const labels = new Int32Array(batch * length).fill(-100);
  let supervised = 0;
  for (let i = 0; i < labels.length; i++) {
    const next = (i + 1) % length === 0 ? -100 : (options.labels?.[i + 1] ?? -100);
    labels[i] = next;
    if (next >= 0) supervised++;
  }
  return {
    batch,
    length,
    ids,
    labels,
    positions: options.positions ?? Int32Array.from(ids, (_, i) => i % length),
    segments: options.mask ?? new Int32Array(batch * length).fill(1),
    supervised,
  };
}

/** The fixed training batches of a case: train.input_ids, .attention_mask and .labels, [batches, rows, length]. */
export function trainingBatches(file: SafetensorsFile): PaddedBatch[] {
  const [ids, mask, labels] = ["input_ids", "attention_mask", "labels"].map((name) => integers(file, `train.${name}`));
  const [batches, ...shape] = ids!.shape as [number, ...number[]];
  const size = ids!.data.length / batches;
  return Array.from({ length: batches }, (_, i) => {
    const part = ({ data }: { data: Int32Array }) => data.slice(i * size, (i + 1) * size);
    return paddedBatch(shape, part(ids!), { mask: part(mask!), labels: part(labels!) });
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

/** Prompts of a left-padded batch without their padding. */
export function unpadded(ids: Int32Array, mask: Int32Array, length: number): number[][] {
  return Array.from({ length: ids.length / length }, (_, row) =>
    [...ids.subarray(row * length, (row + 1) * length)].filter((_, i) => mask[row * length + i] === 1),
  );
}
