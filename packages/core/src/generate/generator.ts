/** Generation and scoring over token ids: continuous batching on one paged cache, with one adapter, or none, or each request with its own. */
import { ConfigError, DataError } from "../errors/index.ts";
import type { Capabilities } from "@graft/kernels";
import type { BaseModel, ModelSizes } from "../models/index.ts";
import { type AdapterWeights, virtualIdsOf } from "../nn/index.ts";
import { Random } from "../random/index.ts";
import { BeamRun } from "./beam-run.ts";
import type { FinishReason, GenerateOptions } from "./language-model.ts";
import {
  applyProcessors,
  argmax,
  type Draw,
  drawFor,
  logSoftmax,
  type Processor,
  processorsFor,
  sample,
} from "./logits.ts";
import { type CacheOptions, PagedForward, type Row } from "./paged-forward.ts";
import { PageAllocator } from "./pages.ts";

export interface IdsRequest extends GenerateOptions {
  readonly promptIds: readonly number[];
  /** What errors call it; its number where it has none. */
  readonly name?: string | undefined;
  /** Its own adapter, or undefined for none, in place of the call's. */
  readonly adapter?: AdapterWeights | undefined;
  /** Also gives the log-probability of each new token. */
  readonly logprobs?: boolean;
  /** Text ends generation: called with the new ids after each token; true stops. */
  readonly shouldStop?: (newIds: readonly number[]) => boolean;
}

export interface IdsSequence {
  readonly ids: readonly number[];
  readonly finishReason: FinishReason;
  readonly logprobs?: readonly number[];
  readonly score?: number;
}

export interface GeneratorOptions {
  readonly pageSize?: number;
  /** Sequences that run at once. */
  readonly maxSequences?: number;
  readonly maxRows?: number;
  /** Pages of the cache; default: maxSequences full-length sequences, at most what 1 GiB holds. */
  readonly pages?: number;
}

/** A request with its adapter settled, and the ids of its virtual tokens before the prompt's. */
type OwnedRequest = IdsRequest & { readonly adapter: AdapterWeights | undefined };

/** A sequence that is running: what is computed, what is still to compute, and its pages. */
interface Running {
  readonly index: number;
  readonly request: OwnedRequest;
  readonly ids: number[];
  readonly logprobs: number[];
  readonly random: Random;
  readonly processors: readonly Processor[];
  readonly pages: number[];
  /** Tokens whose keys and values are in the cache. */
  cached: number;
}

/** Sequences that run at once where nobody says how many. */
export const DEFAULT_MAX_SEQUENCES = 16;

/** The cache that a generator makes for a model, with its defaults filled in. */
export function cacheOptionsFor(
  { kvHeads, headDim, layers, maxLength }: ModelSizes,
  { limits }: Capabilities,
  options: GeneratorOptions,
): CacheOptions {
  const pageSize = options.pageSize ?? 16;
  const maxSequences = options.maxSequences ?? DEFAULT_MAX_SEQUENCES;
  const layerBytes = 4 * kvHeads * headDim * pageSize;
  const wanted = maxSequences * Math.ceil(maxLength / pageSize);
  const fits = Math.min(
    wanted,
    Math.floor(limits.maxStorageBufferBindingSize / layerBytes),
    Math.floor(2 ** 30 / (2 * layers * layerBytes)),
  );
  return { pages: options.pages ?? Math.max(1, fits), pageSize, maxSequences, maxRows: options.maxRows ?? 256 };
}

export class Generator {
  readonly model: BaseModel;
  #forward: PagedForward;
  #pages: PageAllocator;

  constructor(model: BaseModel, options: GeneratorOptions = {}) {
    this.model = model;
    const cache = cacheOptionsFor(model.config, model.device.capabilities, options);
    this.#pages = new PageAllocator(cache.pages);
    this.#forward = new PagedForward(model, cache);
  }

  get pagesInUse(): number {
    return this.#pages.used;
  }

  /** Results in the order of the requests, each with the sequences asked for. Throws DataError for a prompt that is empty, too long, or has unknown ids. */
  async generate(
    given: readonly IdsRequest[],
    adapter: AdapterWeights | undefined,
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onResult?: ((index: number, result: IdsSequence[]) => void) | undefined;
    } = {},
  ): Promise<IdsSequence[][]> {
    const requests = given.map((request, i): OwnedRequest => {
      const own = "adapter" in request ? request.adapter : adapter;
      const virtual = virtualIdsOf(own?.adapter);
      this.#check(request, i, virtual.length);
      return { ...request, adapter: own, promptIds: [...virtual, ...request.promptIds] };
    });
    const results: IdsSequence[][] = requests.map(() => []);
    const finish = (index: number, sequences: IdsSequence[]): void => {
      results[index] = sequences;
      options.onResult?.(index, sequences);
    };
    const hasBeams = (i: number): boolean => (requests[i]!.numBeams ?? 1) > 1 && requests[i]!.maxNewTokens > 0;
    const beams = Map.groupBy([...requests.keys()].filter(hasBeams), (i) => requests[i]!.adapter);
    for (const [own, indexes] of beams) await this.#beamSearches(indexes, requests, own, finish, options.signal);
    // What cannot stand in one pass with other adapters gets passes of its own.
    const plain = Map.groupBy(
      [...requests.keys()].filter((i) => !hasBeams(i)),
      (i) => (this.#isShareable(requests[i]!.adapter) ? undefined : requests[i]!.adapter),
    );
    for (const indexes of plain.values()) await this.#decode(indexes, requests, finish, options.signal);
    return results;
  }

  /** ln p(id | everything before) for each token after the first, and whether it was the most likely one. */
  async score(
    sequences: readonly (readonly number[])[],
    adapter: AdapterWeights | undefined,
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onResult?: ((index: number) => void) | undefined;
      readonly from?: readonly number[];
      /** What errors call the sequences. */
      readonly names?: readonly string[];
    } = {},
  ): Promise<{ logprobs: number[]; isGreedy: boolean[] }[]> {
    const { vocabSize } = this.model.config;
    const results: { logprobs: number[]; isGreedy: boolean[] }[] = [];
    const virtual = virtualIdsOf(adapter?.adapter);
    for (const [n, ids] of sequences.entries())
      this.#check({ promptIds: ids, maxNewTokens: 0, name: options.names?.[n] }, n, virtual.length);
    for (const [n, own] of sequences.entries()) {
      options.signal?.throwIfAborted();
      const ids = [...virtual, ...own];
      const from = virtual.length + (options.from?.[n] ?? 1);
      const pages: number[] = [];
      const result = { logprobs: [] as number[], isGreedy: [] as boolean[] };
      try {
        this.#grow(pages, ids.length);
        for (let begin = 0; begin < ids.length - 1; begin += this.#forward.options.maxRows) {
          const chunk = ids.slice(begin, Math.min(begin + this.#forward.options.maxRows, ids.length - 1));
          const rows = chunk.map((id, i): Row => ({
            id,
            position: begin + i,
            sequence: 0,
            isWanted: begin + i + 1 >= from,
          }));
          const logits = await this.#forward.run(rows, [pages], adapter);
          for (const [w, position] of rows
            .filter((r) => r.isWanted)
            .map((r) => r.position)
            .entries()) {
            const row = logits.subarray(w * vocabSize, (w + 1) * vocabSize);
            const next = ids[position + 1]!;
            result.logprobs.push(logSoftmax(row)[next]!);
            result.isGreedy.push(argmax(row) === next);
          }
        }
      } finally {
        for (const page of pages) this.#pages.release(page);
      }
      results.push(result);
      options.onResult?.(n);
    }
    return results;
  }

  /** Raw logits of the next token after each prompt, computed in one go. */
  async nextLogits(promptIds: readonly number[], adapter: AdapterWeights | undefined): Promise<Float32Array> {
    const pages: number[] = [];
    const ids = [...virtualIdsOf(adapter?.adapter), ...promptIds];
    try {
      this.#grow(pages, ids.length);
      return await this.#prefill(ids, pages, adapter);
    } finally {
      for (const page of pages) this.#pages.release(page);
    }
  }

  forget(adapter: AdapterWeights): Promise<void> {
    return this.#forward.forget(adapter);
  }

  destroy(): Promise<void> {
    return this.#forward.destroy();
  }

  #check(
    { promptIds, maxNewTokens, numBeams, numReturnSequences, temperature, name: given }: IdsRequest,
    index: number,
    virtualTokens: number,
  ): void {
    const name = given ?? `prompt ${index}`;
    const { vocabSize, maxLength } = this.model.config;
    if (promptIds.length === 0) throw new DataError(`${name} is empty`);
    const bad = promptIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined) throw new DataError(`${name} has the id ${bad}, the vocabulary has ${vocabSize}`);
    const length = virtualTokens + promptIds.length;
    if (length + maxNewTokens > maxLength) {
      const room = maxLength - length;
      const asked = maxNewTokens > 0 ? ` and asks for ${maxNewTokens} more` : "";
      const before = virtualTokens > 0 ? `, the adapter puts ${virtualTokens} before them` : "";
      throw new DataError(
        `${name} has ${promptIds.length} tokens${before}${asked}; the model holds ${maxLength}: shorten it${room > 0 ? `, or ask for at most ${room}` : ""}`,
      );
    }
    const { pageSize, pages, maxSequences, maxRows } = this.#forward.options;
    if ((numBeams ?? 1) > Math.min(maxSequences, maxRows))
      throw new ConfigError(
        `num_beams ${numBeams} is over the ${Math.min(maxSequences, maxRows)} sequences that may run at once`,
      );
    if (Math.ceil((length + maxNewTokens) / pageSize) * (numBeams ?? 1) > pages) {
      throw new DataError(`${name} needs more than the ${pages} pages of the cache`);
    }
    if ((numBeams ?? 1) > 1 && temperature)
      throw new ConfigError("beam search and sampling exclude each other: set temperature to 0 or num_beams to 1");
    if ((numBeams ?? 1) > 1 && (numReturnSequences ?? 1) > numBeams!)
      throw new ConfigError(`num_return_sequences ${numReturnSequences} is over num_beams ${numBeams}`);
  }

  #isShareable(adapter: AdapterWeights | undefined): boolean {
    return adapter === undefined || this.#forward.canShare(adapter);
  }

  #eosOf(request: GenerateOptions): ReadonlySet<number> {
    return new Set(request.eosTokenIds ?? this.model.generation.eosTokenIds);
  }

  /** Sequences join when pages are free and leave when they end. */
  async #decode(
    indexes: readonly number[],
    requests: readonly OwnedRequest[],
    finish: (index: number, sequences: IdsSequence[]) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    // Several sequences of one request are independent samples, told apart by their stream.
    const waiting = indexes.flatMap((index) =>
      Array.from({ length: requests[index]!.numReturnSequences ?? 1 }, (_, copy) => ({ index, copy })),
    );
    const done = new Map<number, IdsSequence[]>();
    let running: Running[] = [];
    try {
      while (waiting.length > 0 || running.length > 0) {
        signal?.throwIfAborted();
        while (waiting.length > 0 && running.length < this.#forward.options.maxSequences) {
          const { index, copy } = waiting[0]!;
          const request = requests[index]!;
          const most = Math.ceil((request.promptIds.length + request.maxNewTokens) / this.#forward.options.pageSize);
          // Room for all it may ever need is reserved on entry, so nothing is ever taken back.
          if (most > this.#pages.free) break;
          const pages: number[] = [];
          this.#grow(pages, most * this.#forward.options.pageSize);
          waiting.shift();
          const state: Running = {
            index,
            request,
            ids: [...request.promptIds],
            logprobs: [],
            random: new Random(request.seed ?? 0, copy),
            processors: processorsFor(request),
            pages,
            cached: 0,
          };
          running.push(state);
        }
        for (const state of running) {
          if (request0(state)) this.#end(state, "length", done, requests, finish);
        }
        running = running.filter((state) => state.pages.length > 0);
        if (running.length > 0)
          await this.#step(running, (state, reason) => this.#end(state, reason, done, requests, finish));
        running = running.filter((state) => state.pages.length > 0);
      }
    } finally {
      for (const state of running) this.#free(state);
    }
  }

  /** One pass: a token of every sequence that is past its prompt, and chunks of prompts as far as rows last. */
  async #step(running: readonly Running[], end: (state: Running, reason: FinishReason) => void): Promise<void> {
    const { maxRows } = this.#forward.options;
    const rows: Row[] = [];
    const wanted: { readonly state: Running; readonly draw: Draw | undefined }[] = [];
    for (const [sequence, state] of running.entries()) {
      const count = Math.min(state.ids.length - state.cached, maxRows - rows.length);
      for (let i = 0; i < count; i++) {
        const position = state.cached + i;
        const isWanted = position === state.ids.length - 1;
        const draw = isWanted ? drawFor(state.request, state.random) : undefined;
        rows.push({ id: state.ids[position]!, position, sequence, isWanted, draw });
        if (isWanted) wanted.push({ state, draw });
      }
      state.cached += count;
    }
    // Only what needs the host's processors brings its logits back.
    const { ids, logprobs, logits, errors } = await this.#forward.next(
      rows,
      running.map((state) => state.pages),
      running.map((state) => state.request.adapter),
      wanted.some(({ draw }) => draw === undefined),
    );
    for (const error of errors.values()) throw error;
    const { vocabSize } = this.model.config;
    for (const [i, { state, draw }] of wanted.entries()) {
      const own = draw ? undefined : logits!.subarray(i * vocabSize, (i + 1) * vocabSize);
      const id = own ? this.#choose(state, own) : ids[i]!;
      this.#extend(state, id, own ? logSoftmax(own)[id]! : logprobs[i]!, end);
    }
  }

  #choose(state: Running, logits: Float32Array): number {
    const scores = Float64Array.from(logits);
    applyProcessors(state.processors, scores, state.ids);
    return state.request.temperature ? sample(scores, state.random) : argmax(scores);
  }

  #extend(state: Running, id: number, logprob: number, end: (state: Running, reason: FinishReason) => void): void {
    const { request } = state;
    const isEos = this.#eosOf(request).has(id);
    state.ids.push(id);
    if (request.logprobs) state.logprobs.push(logprob);
    const fresh = state.ids.length - request.promptIds.length;
    if (isEos || request.shouldStop?.(state.ids.slice(request.promptIds.length))) end(state, "stop");
    else if (fresh >= request.maxNewTokens) end(state, "length");
  }

  #end(
    state: Running,
    finishReason: FinishReason,
    done: Map<number, IdsSequence[]>,
    requests: readonly IdsRequest[],
    finish: (index: number, sequences: IdsSequence[]) => void,
  ): void {
    this.#free(state);
    const sequences = done.get(state.index) ?? [];
    done.set(state.index, sequences);
    sequences.push({
      ids: state.ids.slice(state.request.promptIds.length),
      finishReason,
      ...(state.request.logprobs ? { logprobs: state.logprobs } : {}),
    });
    if (sequences.length === (requests[state.index]!.numReturnSequences ?? 1)) finish(state.index, sequences);
  }

  /** Beam searches side by side, as many as sequences and pages allow. */
  async #beamSearches(
    indexes: readonly number[],
    requests: readonly IdsRequest[],
    adapter: AdapterWeights | undefined,
    finish: (index: number, sequences: IdsSequence[]) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { maxSequences, maxRows, pageSize } = this.#forward.options;
    const waiting = indexes.map((index) => ({
      index,
      request: { ...requests[index]!, numBeams: requests[index]!.numBeams! },
    }));
    let running: { index: number; beams: number; most: number; run: BeamRun }[] = [];
    const sum = (of: (entry: (typeof running)[number]) => number) =>
      running.reduce((total, entry) => total + of(entry), 0);
    try {
      while (waiting.length > 0 || running.length > 0) {
        signal?.throwIfAborted();
        while (waiting.length > 0) {
          const { index, request } = waiting[0]!;
          const [beams, most] = [request.numBeams, BeamRun.pagesFor(request, pageSize)];
          if (sum((e) => e.beams) + beams > maxSequences || sum((e) => e.most) + most > this.#pages.total) break;
          waiting.shift();
          running.push({ index, beams, most, run: new BeamRun(request, this.#eosOf(request), this.#pages, pageSize) });
        }
        await this.#beamPass(
          running.map((entry) => entry.run),
          maxRows,
          adapter,
        );
        for (const { index, run } of running.filter((entry) => entry.run.isDone)) {
          const eos = this.#eosOf(requests[index]!);
          run.release();
          const reason = (ids: readonly number[]): FinishReason => (eos.has(ids.at(-1)!) ? "stop" : "length");
          finish(
            index,
            run.results().map(({ ids, score }) => ({ ids, score, finishReason: reason(ids) })),
          );
        }
        running = running.filter((entry) => !entry.run.isDone);
      }
    } finally {
      for (const { run } of running) run.release();
    }
  }

  /** One pass: the beams of every search that is past its prompt, then chunks of prompts as far as rows last. */
  async #beamPass(runs: readonly BeamRun[], maxRows: number, adapter: AdapterWeights | undefined): Promise<void> {
    const rows: Row[] = [];
    const pages: (readonly number[])[] = [];
    const copies: { readonly from: number; readonly to: number }[] = [];
    const readers: { run: BeamRun; wanted: number }[] = [];
    for (const run of [...runs.filter((r) => !r.isInPrompt), ...runs.filter((r) => r.isInPrompt)]) {
      const pass = run.next(maxRows - rows.length);
      if (!pass) continue;
      rows.push(...pass.rows.map((row) => ({ ...row, sequence: row.sequence + pages.length })));
      pages.push(...pass.pages);
      copies.push(...pass.copies);
      readers.push({ run, wanted: pass.rows.filter((row) => row.isWanted).length });
    }
    await this.#forward.copyPages(copies);
    const logits = await this.#forward.run(rows, pages, adapter);
    const { vocabSize } = this.model.config;
    let at = 0;
    for (const { run, wanted } of readers) {
      run.take(
        Array.from({ length: wanted }, (_, i) => logits.subarray((at + i) * vocabSize, (at + i + 1) * vocabSize)),
      );
      at += wanted;
    }
  }

  async #prefill(
    ids: readonly number[],
    pages: readonly number[],
    adapter: AdapterWeights | undefined,
  ): Promise<Float32Array> {
    let logits = new Float32Array(0) as Float32Array;
    const { maxRows } = this.#forward.options;
    for (let begin = 0; begin < ids.length; begin += maxRows) {
      const rows = ids
        .slice(begin, begin + maxRows)
        .map((id, i): Row => ({ id, position: begin + i, sequence: 0, isWanted: begin + i === ids.length - 1 }));
      logits = await this.#forward.run(rows, [pages], adapter);
    }
    return logits;
  }

  #grow(pages: number[], tokens: number): void {
    while (pages.length * this.#forward.options.pageSize < tokens) pages.push(this.#pages.claim());
  }

  #free(state: Running): void {
    for (const page of state.pages) this.#pages.release(page);
    state.pages.length = 0;
  }
}

/** A request for no tokens at all. */
function request0({ request }: Running): boolean {
  return request.maxNewTokens === 0;
}
