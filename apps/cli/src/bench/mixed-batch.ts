/** A decode step whose rows have different adapters: one pass for all against a pass for each, in turn. */
import { baseOf, createAdapter } from "@graft/adapters";
import { PagedForward, type Row } from "@graft/core/generate";
import { AdapterWeights } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { type Device, median } from "@graft/kernels";
import { randomLlama } from "./random-model.ts";

export interface MixedBatchResult {
  readonly adapters: number;
  readonly rows: number;
  /** Medians of interleaved rounds. */
  readonly baseSeconds: number;
  readonly mixedSeconds: number;
  readonly separateSeconds: number;
}

/** 16 sequences of 64 tokens, 8 LoRAs (r 8, all linears), two rows each. */
export async function benchMixedBatch(device: Device, rounds = 9): Promise<MixedBatchResult> {
  const [count, each, position] = [8, 2, 64];
  const model = randomLlama(device);
  const base = baseOf(model);
  const adapters: AdapterWeights[] = [];
  for (let i = 0; i < count; i++) {
    const { bound, values } = await createAdapter({ peft_type: "LORA", r: 8, target_modules: "all-linear" }, base, i);
    const random = new Random(i, 1);
    for (const [key, value] of values)
      values.set(
        key,
        value.map((x) => x + 0.01 * random.normal()),
      );
    adapters.push(new AdapterWeights(device, bound, values, "bench"));
  }
  const [sequences, pageSize] = [count * each, 16];
  const perSequence = Math.ceil((position + 1) / pageSize);
  const forward = new PagedForward(model, {
    pages: sequences * perSequence,
    pageSize,
    maxSequences: sequences,
    maxRows: sequences,
  });
  const pages = Array.from({ length: sequences }, (_, s) =>
    Array.from({ length: perSequence }, (__, p) => s * perSequence + p),
  );
  const rowsOf = (total: number) =>
    Array.from({ length: total }, (_, sequence): Row => ({ id: 7 + sequence, position, sequence, isWanted: true }));
  const owner = (sequence: number) => adapters[Math.floor(sequence / each)]!;
  const ways = {
    base: () => forward.next(rowsOf(sequences), pages, undefined, false),
    mixed: () =>
      forward.next(
        rowsOf(sequences),
        pages,
        pages.map((_, s) => owner(s)),
        false,
      ),
    separate: async () => {
      for (const [i, adapter] of adapters.entries())
        await forward.next(rowsOf(each), pages.slice(i * each, (i + 1) * each), adapter, false);
    },
  };
  const times: Record<keyof typeof ways, number[]> = { base: [], mixed: [], separate: [] };
  try {
    // The first round makes the programs.
    for (let round = 0; round <= rounds; round++) {
      for (const [name, run] of Object.entries(ways)) {
        const begin = performance.now();
        await run();
        if (round > 0) times[name as keyof typeof ways].push((performance.now() - begin) / 1000);
      }
    }
  } finally {
    await forward.destroy();
    for (const adapter of adapters) adapter.destroy();
    model.destroy();
  }
  return {
    adapters: count,
    rows: sequences,
    baseSeconds: median(times.base),
    mixedSeconds: median(times.mixed),
    separateSeconds: median(times.separate),
  };
}
