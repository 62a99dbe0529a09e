/** The device side of generation: rows of any sequences through the model against the paged cache. */
import type { DeviceBuffer } from "@graft/kernels";
import { Arena, type InputData, Program, type Tensor, tunedPlan } from "../graph/index.ts";
import { type BaseModel, traceModelOf, tracePaged } from "../models/index.ts";
import type { Adapter, AdapterMix, AdapterWeights } from "../nn/index.ts";
import { targetLogprob } from "../ops/index.ts";
import { AdapterMixer, type Mixture } from "./adapter-mixer.ts";
import { DataError } from "../errors/index.ts";
import { type Draw, GREEDY } from "./logits.ts";

/** One token to compute. */
export interface Row {
  readonly id: number;
  readonly position: number;
  /** Index into the pages of this call. */
  readonly sequence: number;
  /** Is what follows it wanted: logits, or a token? */
  readonly isWanted: boolean;
  /** How its next token is chosen; default: greedy. */
  readonly draw?: Draw | undefined;
  /** Tokens whose probability after this row is asked for. */
  readonly targets?: readonly number[] | undefined;
}

/** What follows the wanted rows, in their order. */
export interface NextTokens {
  readonly ids: Int32Array;
  /** ln p of each id under the unmodified logits. */
  readonly logprobs: Float32Array;
  /** [wanted, vocabSize], if they were asked for. */
  readonly logits: Float32Array | undefined;
  /** By number of the wanted row, those that have no next token. */
  readonly errors: ReadonlyMap<number, DataError>;
}

/** Of the targets of the wanted rows, in their order. */
export interface TargetScores {
  /** ln p of each. */
  readonly logprobs: Float32Array;
  readonly isGreedy: readonly boolean[];
}

export interface CacheOptions {
  readonly pages: number;
  readonly pageSize: number;
  /** Sequences that generation runs at once. */
  readonly maxSequences: number;
  /** Rows of one call at the most; longer prompts are cut into chunks by the caller. */
  readonly maxRows: number;
}

/** One adapter, or none, for all sequences of a call, or each its own, in the order of their pages. Several must be able to share (canShare). */
export type Adapters = AdapterWeights | undefined | readonly (AdapterWeights | undefined)[];

type Outputs = "logits" | "tokens" | "both" | "targets";

/** What a program is made for. */
interface Shape {
  readonly rows: number;
  readonly wanted: number;
  readonly targets: number;
  readonly sequences: number;
}

export class PagedForward {
  readonly options: CacheOptions;
  readonly maxPages: number;
  #model: BaseModel;
  #arena: Arena;
  #cache = new Map<string, DeviceBuffer>();
  /** By adapters, then by shape; least recently used first. */
  #programs = new Map<string, { readonly uses: readonly object[]; readonly byShape: Map<string, Promise<Program>> }>();
  #mixer: AdapterMixer;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(model: BaseModel, options: CacheOptions) {
    this.#model = model;
    this.options = options;
    this.maxPages = Math.ceil(model.config.maxLength / options.pageSize);
    this.#arena = new Arena(model.device);
    this.#mixer = new AdapterMixer(model, (used) => this.#drop(used));
    const { kvHeads, headDim, layers } = model.config;
    for (let layer = 0; layer < layers; layer++) {
      for (const which of ["k", "v"]) {
        const name = `cache/${which}/${layer}`;
        this.#cache.set(
          name,
          model.device.createBuffer(options.pages * options.pageSize * kvHeads * headDim * 4, name),
        );
      }
    }
  }

  /** Of keys and values. */
  get cacheBytes(): number {
    return [...this.#cache.values()].reduce((sum, buffer) => sum + buffer.size, 0);
  }

  /** Can rows of this adapter stand in one pass with rows of other adapters? */
  canShare(adapter: AdapterWeights): boolean {
    return this.#mixer.canShare(adapter);
  }

  /**
   * Computes rows, in order, writing their keys and values into the pages of their sequence. pages: page numbers of each sequence.
   * Returns the logits of the wanted rows, [wanted, vocabSize].
   */
  async run(rows: readonly Row[], pages: readonly (readonly number[])[], adapters: Adapters): Promise<Float32Array> {
    const [logits] = await this.#inTurn(() => this.#pass("logits", rows, pages, adapters));
    return (logits as Float32Array).subarray(0, wantedOf(rows).length * this.#model.config.vocabSize);
  }

  /**
   * The same, and the device chooses the token after each wanted row: a few bytes come back, or with `withLogits` the logits too.
   * A row for which the model gave NaN has no next token, but an error.
   */
  async next(
    rows: readonly Row[],
    pages: readonly (readonly number[])[],
    adapters: Adapters,
    withLogits: boolean,
  ): Promise<NextTokens> {
    const wanted = wantedOf(rows);
    const [ids, logprobs, logits] = await this.#inTurn(() =>
      this.#pass(withLogits ? "both" : "tokens", rows, pages, adapters),
    );
    const errors = new Map<number, DataError>();
    for (const [i, row] of wanted.entries()) if (ids![i]! < 0) errors.set(i, nanAfter(rows[row]!, adapters));
    return {
      errors,
      ids: (ids as Int32Array).subarray(0, wanted.length),
      logprobs: (logprobs as Float32Array).subarray(0, wanted.length),
      logits: (logits as Float32Array | undefined)?.subarray(0, wanted.length * this.#model.config.vocabSize),
    };
  }

  /** The same for the targets of the wanted rows, of which a few bytes come back. Throws DataError where the model gave NaN. */
  async score(rows: readonly Row[], pages: readonly (readonly number[])[], adapters: Adapters): Promise<TargetScores> {
    const [logprobs, best] = await this.#inTurn(() => this.#pass("targets", rows, pages, adapters));
    const isGreedy: boolean[] = [];
    for (const row of rows) {
      for (const id of row.isWanted ? (row.targets ?? []) : []) {
        const likeliest = best![isGreedy.length]!;
        if (likeliest < 0) throw nanAfter(row, adapters);
        isGreedy.push(likeliest === id);
      }
    }
    return { logprobs: (logprobs as Float32Array).subarray(0, isGreedy.length), isGreedy };
  }

  /** One after the other: what one call frees, another must not be about to use. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #pass(
    outputs: Outputs,
    rows: readonly Row[],
    pages: readonly (readonly number[])[],
    adapters: Adapters,
  ): Promise<InputData[]> {
    const { pageSize, maxSequences, maxRows } = this.options;
    const wanted = wantedOf(rows);
    const targets = outputs === "targets" ? wanted.flatMap((row, i) => targetsOf(rows[row]!, i)) : [];
    const shape: Shape = {
      rows: bucket(rows.length),
      wanted: bucket(wanted.length),
      targets: bucket(targets.length),
      // Scoring may have more, a row or two of each.
      sequences: pages.length <= maxSequences ? maxSequences : maxRows,
    };
    const attached = await this.#attached(new Set(pages.map((_, sequence) => adapterOf(adapters, sequence))));
    const program = await this.#program(outputs, shape, attached);
    const fill = (value: number, get: (row: Row) => number) =>
      Int32Array.from({ length: shape.rows }, (_, i) => (rows[i] ? get(rows[i]) : value));
    const table = new Int32Array(shape.sequences * this.maxPages);
    for (const [i, own] of pages.entries()) table.set(own, i * this.maxPages);
    const slotOf = ({ sequence, position }: Row): number =>
      pages[sequence]![Math.floor(position / pageSize)]! * pageSize + (position % pageSize);
    const draws = Array.from({ length: shape.wanted }, (_, i) => rows[wanted[i] ?? -1]?.draw ?? GREEDY);
    return program.run({
      ids: fill(0, (row) => row.id),
      positions: fill(-1, (row) => row.position),
      sequences: fill(0, (row) => row.sequence),
      slots: fill(-1, slotOf),
      pages: table,
      wanted: Int32Array.from({ length: shape.wanted }, (_, i) => wanted[i] ?? 0),
      sampling: Float32Array.from(draws.flatMap((d) => [d.temperature, d.topK, d.topP, d.uniform])),
      targetRows: Int32Array.from({ length: shape.targets }, (_, i) => targets[i]?.row ?? -1),
      targets: Int32Array.from({ length: shape.targets }, (_, i) => targets[i]?.id ?? 0),
      ...attached.inputs(
        Array.from({ length: shape.rows }, (_, i) => (rows[i] ? adapterOf(adapters, rows[i].sequence) : undefined)),
      ),
    });
  }

  /** Copies whole pages, for beams that part ways. */
  async copyPages(pairs: readonly { readonly from: number; readonly to: number }[]): Promise<void> {
    if (pairs.length === 0) return;
    const { device, config } = this.#model;
    const bytes = this.options.pageSize * config.kvHeads * config.headDim * 4;
    // WebGPU does not copy inside one buffer: pages go through another.
    const between = device.createBuffer(pairs.length * bytes, "cache pages on their way");
    try {
      await device.scope("copy cache pages", () => {
        const encoder = device.gpu.createCommandEncoder();
        for (const { gpu } of this.#cache.values()) {
          for (const [i, { from }] of pairs.entries())
            encoder.copyBufferToBuffer(gpu, from * bytes, between.gpu, i * bytes, bytes);
          for (const [i, { to }] of pairs.entries())
            encoder.copyBufferToBuffer(between.gpu, i * bytes, gpu, to * bytes, bytes);
        }
        device.gpu.queue.submit([encoder.finish()]);
      });
    } finally {
      between.destroy();
    }
  }

  /** Frees what is kept of an adapter that is about to be freed, or whose values have changed. */
  forget(adapter: AdapterWeights): Promise<void> {
    return this.#inTurn(async () => {
      await this.#drop(adapter);
      await this.#mixer.forget(adapter);
    });
  }

  destroy(): Promise<void> {
    return this.#inTurn(async () => {
      for (const key of this.#programs.keys()) await this.#evict(key);
      this.#mixer.destroy();
      for (const buffer of this.#cache.values()) buffer.destroy();
    });
  }

  /** What a program of these adapters needs: one of them, or none, is attached as it is; several are mixed. */
  async #attached(adapters: ReadonlySet<AdapterWeights | undefined>): Promise<Attached> {
    if (adapters.size > 1) {
      const mixture = await this.#mixer.mixtureOf([...adapters].filter((one) => one !== undefined));
      return { ...mixture, adapter: undefined };
    }
    const [one] = adapters;
    return {
      key: one ? `adapter ${this.#mixer.numberOf(one)}` : "base",
      adapter: one?.adapter,
      mix: undefined,
      uses: one ? [one] : [],
      buffer: (name) => one!.buffers.get(name.slice("adapter/0/".length))!,
      inputs: () => ({}),
    };
  }

  async #drop(used: object): Promise<void> {
    for (const [key, { uses }] of this.#programs) if (uses.includes(used)) await this.#evict(key);
  }

  async #evict(key: string): Promise<void> {
    const entry = this.#programs.get(key);
    this.#programs.delete(key);
    for (const program of entry?.byShape.values() ?? []) (await program).destroy();
  }

  async #program(outputs: Outputs, shape: Shape, attached: Attached): Promise<Program> {
    const { key } = attached;
    const entry = this.#programs.get(key) ?? { uses: attached.uses, byShape: new Map<string, Promise<Program>>() };
    this.#programs.delete(key);
    this.#programs.set(key, entry);
    if (this.#programs.size > MAX_COMBINATIONS) await this.#evict(this.#programs.keys().next().value!);
    const name = `${outputs} ${shape.rows}x${shape.wanted}x${shape.targets} of ${shape.sequences}`;
    const known = entry.byShape.get(name);
    if (known) return known;
    const made = this.#bind(outputs, shape, attached);
    entry.byShape.set(name, made);
    made.catch(() => entry.byShape.delete(name));
    return made;
  }

  async #bind(outputs: Outputs, { rows, wanted, targets, sequences }: Shape, attached: Attached): Promise<Program> {
    const { pages, pageSize } = this.options;
    const shape = { rows, outputs: wanted, sequences, maxPages: this.maxPages, pageSize, pages };
    const { adapter, mix } = attached;
    const { graph, logits, ids, logprobs } = tracePaged(traceModelOf(this.#model), shape, { adapter, mix });
    const resolve = (name: string): DeviceBuffer => {
      if (name.startsWith("base/")) return this.#model.weights.get(name.slice(5))!.buffer;
      if (name.startsWith("cache/")) return this.#cache.get(name)!;
      return attached.buffer(name);
    };
    const scores = (): Tensor[] => {
      const input = (name: string) => graph.input(name, [targets], "i32");
      const scored = targetLogprob(logits, input("targetRows"), input("targets"));
      return [scored.logprobs, scored.best];
    };
    const results = {
      logits: () => [logits],
      tokens: () => [ids, logprobs],
      both: () => [ids, logprobs, logits],
      targets: scores,
    };
    const made = await tunedPlan(graph, results[outputs](), this.#model.device);
    return Program.bind(this.#model.device, this.#arena, made, resolve, `forward ${rows} rows`);
  }
}

/** Sets of adapters whose programs are kept. */
const MAX_COMBINATIONS = 64;

interface Attached extends Omit<Mixture, "mix"> {
  readonly adapter: Adapter | undefined;
  readonly mix: AdapterMix | undefined;
}

function adapterOf(adapters: Adapters, sequence: number): AdapterWeights | undefined {
  return adapters instanceof Array ? adapters[sequence] : (adapters as AdapterWeights | undefined);
}

function nanAfter({ position, sequence }: Row, adapters: Adapters): DataError {
  const adapter = adapterOf(adapters, sequence);
  return new DataError(
    `the model gave NaN after position ${position}${adapter ? `, with an adapter of ${adapter.adapter.method}` : ""}: its weights are damaged, or too large for their type`,
  );
}

/** `row`: its number among the wanted ones. */
const targetsOf = ({ targets = [] }: Row, row: number) => targets.map((id) => ({ row, id }));

const wantedOf = (rows: readonly Row[]) => rows.flatMap((row, i) => (row.isWanted ? [i] : []));

/** The next power of two, so that few programs serve all sizes. */
export function bucket(count: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, count)));
}
