/** The batches of a training run, addressed by position, so that a resumed run sees exactly what is left. */
import { createHash } from "node:crypto";
import { ConfigError } from "../errors/index.ts";
import { collate, type Batch, type CollateOptions } from "./collate.ts";
import { packExamples } from "./pack.ts";
import { lengthGroupedOrder, shuffledOrder } from "./sampler.ts";
import type { Example } from "./tokenize.ts";

export interface BatchesOptions extends CollateOptions {
  /** Rows per batch; the last batch of an epoch may have fewer. */
  readonly batchSize: number;
  readonly seed: number;
  /** Default true. False keeps the order of the examples, as validation does. */
  readonly shuffle?: boolean;
  /** Examples of similar length share a batch. */
  readonly groupByLength?: boolean;
  /** Examples per optimizer step, which groupByLength groups by. Default batchSize. */
  readonly groupSize?: number;
  /** Tokens of a packed row, virtual ones counted; undefined: one example a row. */
  readonly packLength?: number | undefined;
}

/** The next batch to train on. Both count from 0. */
export interface BatchPosition {
  readonly epoch: number;
  /** Batches of this epoch that came before. */
  readonly index: number;
}

export interface Batches {
  readonly batchesPerEpoch: number;
  /** Tokens of all examples, padding not counted. */
  readonly tokensPerEpoch: number;
  /** SHA-256 over every example and every option that decides order or shape: a resumed run must find the same. */
  readonly fingerprint: string;
  /** The batch at a position. Throws RangeError if the epoch has no such batch. */
  at(position: BatchPosition): Batch;
  /** The example numbers of each row of the batch at a position. */
  rowsAt(position: BatchPosition): readonly (readonly number[])[];
  /** Batches from a position on, epoch after epoch without end. `next` is where to resume after this one. */
  from(position: BatchPosition): Generator<{ position: BatchPosition; next: BatchPosition; batch: Batch }, never>;
}

/** Throws ConfigError on a size that is no positive integer, no examples, or packing together with groupByLength. */
export function createBatches(examples: readonly Example[], options: BatchesOptions): Batches {
  const { batchSize, seed, shuffle = true, groupByLength = false, groupSize = batchSize, packLength } = options;
  const { padSide = "left", padId = 0, padToMultipleOf = 8, virtualTokens = 0 } = options;
  for (const [name, value] of Object.entries({ batchSize, groupSize, padToMultipleOf, packLength: packLength ?? 1 })) {
    if (!(Number.isInteger(value) && value >= 1))
      throw new ConfigError(`${name} must be a positive integer, got ${value}`);
  }
  if (examples.length === 0) throw new ConfigError("there are no examples to make batches of");
  if (groupByLength && packLength !== undefined) {
    throw new ConfigError(
      "group_by_length and packing exclude each other: packed rows all have nearly the same length",
    );
  }
  const lengths = examples.map(({ ids }) => ids.length);
  // Packs are made once, so that every epoch has the same number of steps; their order is what changes.
  const rows =
    packLength === undefined
      ? examples.map((_, i) => [i])
      : packExamples(
          lengths.map((length) => virtualTokens + length),
          packLength,
        );
  const batchesPerEpoch = Math.ceil(rows.length / batchSize);

  let cached: { epoch: number; order: readonly number[] } | undefined;
  function orderOf(epoch: number): readonly number[] {
    if (cached?.epoch !== epoch) {
      const order = !shuffle
        ? rows.map((_, i) => i)
        : groupByLength
          ? lengthGroupedOrder(lengths, groupSize, seed, epoch)
          : shuffledOrder(rows.length, seed, epoch);
      cached = { epoch, order };
    }
    return cached.order;
  }

  function rowsAt({ epoch, index }: BatchPosition): readonly (readonly number[])[] {
    if (!(Number.isInteger(epoch) && epoch >= 0 && Number.isInteger(index) && index >= 0 && index < batchesPerEpoch)) {
      throw new RangeError(`no batch ${index} in epoch ${epoch}: an epoch has batches 0 to ${batchesPerEpoch - 1}`);
    }
    return orderOf(epoch)
      .slice(index * batchSize, (index + 1) * batchSize)
      .map((row) => rows[row]!);
  }

  function at(position: BatchPosition): Batch {
    return collate(
      rowsAt(position).map((row) => row.map((example) => examples[example]!)),
      { padSide, padId, padToMultipleOf, virtualTokens },
    );
  }

  return {
    batchesPerEpoch,
    tokensPerEpoch: lengths.reduce((sum, length) => sum + length, 0),
    fingerprint: fingerprint(examples, [
      batchSize,
      seed,
      shuffle,
      groupByLength,
      groupSize,
      packLength,
      padSide,
      padId,
      padToMultipleOf,
      virtualTokens,
    ]),
    at,
    rowsAt,
    *from(start) {
      let position = start;
      for (;;) {
        const batch = at(position);
        const isLast = position.index + 1 === batchesPerEpoch;
        const next = isLast
          ? { epoch: position.epoch + 1, index: 0 }
          : { epoch: position.epoch, index: position.index + 1 };
        yield { position, next, batch };
        position = next;
      }
    },
  };
}

function fingerprint(examples: readonly Example[], settings: readonly unknown[]): string {
  const hash = createHash("sha256").update(JSON.stringify(settings.map((setting) => setting ?? null)));
  for (const { ids, labels } of examples) {
    hash.update(Int32Array.of(ids.length)).update(ids).update(labels);
  }
  return hash.digest("hex");
}
