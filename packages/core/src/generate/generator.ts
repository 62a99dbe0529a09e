/** Generation and scoring over token ids: continuous batching on one paged cache, one adapter (or none) per call. */
import { ConfigError, DataError } from "../errors/index.ts";
import type { BaseModel } from "../models/index.ts";
import type { AdapterWeights } from "../nn/index.ts";
import { Random } from "../random/index.ts";
import { BeamSearch } from "./beam.ts";
import type { FinishReason, GenerateOptions } from "./language-model.ts";
import { argmax, logSoftmax, type Processor, processorsFor, sample } from "./logits.ts";
import { PagedForward, type Row } from "./paged-forward.ts";
import { PageAllocator } from "./pages.ts";

export interface IdsRequest extends GenerateOptions {
  readonly promptIds: readonly number[];
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

/** A sequence that is running: what is computed, what is still to compute, and its pages. */
interface Running {
  readonly index: number;
  readonly request: IdsRequest;
  readonly ids: number[];
  readonly logprobs: number[];
  readonly random: Random;
  readonly processors: readonly Processor[];
  readonly pages: number[];
  /** Tokens whose keys and values are in the cache. */
  cached: number;
}

export class Generator {
  readonly model: BaseModel;
  #forward: PagedForward;
  #pages: PageAllocator;

  constructor(model: BaseModel, options: GeneratorOptions = {}) {
    this.model = model;
    const pageSize = options.pageSize ?? 16;
    const maxSequences = options.maxSequences ?? 16;
    const { kvHeads, headDim, layers, maxLength } = model.config;
    const pageBytes = 2 * 4 * layers * kvHeads * headDim * pageSize;
    const perBinding = Math.floor(
      model.device.capabilities.limits.maxStorageBufferBindingSize / (4 * kvHeads * headDim * pageSize),
    );
    const wanted = maxSequences * Math.ceil(maxLength / pageSize);
    const pages = options.pages ?? Math.max(1, Math.min(wanted, perBinding, Math.floor(2 ** 30 / pageBytes)));
    this.#pages = new PageAllocator(pages);
    this.#forward = new PagedForward(model, { pages, pageSize, maxSequences, maxRows: options.maxRows ?? 256 });
  }

  get pagesInUse(): number {
    return this.#pages.used;
  }

  /** Results in the order of the requests, each with the sequences asked for. Throws DataError for a prompt that is empty, too long, or has unknown ids. */
  async generate(
    requests: readonly IdsRequest[],
    adapter: AdapterWeights | undefined,
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onResult?: ((index: number, result: IdsSequence[]) => void) | undefined;
    } = {},
  ): Promise<IdsSequence[][]> {
    for (const [i, request] of requests.entries()) this.#check(request, i);
    const results: IdsSequence[][] = requests.map(() => []);
    const finish = (index: number, sequences: IdsSequence[]): void => {
      results[index] = sequences;
      options.onResult?.(index, sequences);
    };
    const plain: number[] = [];
    for (const [i, request] of requests.entries()) {
      if ((request.numBeams ?? 1) > 1) finish(i, await this.#beamSearch(request, adapter, options.signal));
      else plain.push(i);
    }
    await this.#decode(plain, requests, adapter, finish, options.signal);
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
    } = {},
  ): Promise<{ logprobs: number[]; isGreedy: boolean[] }[]> {
    const { vocabSize } = this.model.config;
    const results: { logprobs: number[]; isGreedy: boolean[] }[] = [];
    for (const [n, ids] of sequences.entries()) this.#check({ promptIds: ids, maxNewTokens: 0 }, n);
    for (const [n, ids] of sequences.entries()) {
      options.signal?.throwIfAborted();
      const from = options.from?.[n] ?? 1;
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
            const own = logits.subarray(w * vocabSize, (w + 1) * vocabSize);
            const next = ids[position + 1]!;
            result.logprobs.push(logSoftmax(own)[next]!);
            result.isGreedy.push(argmax(own) === next);
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
    try {
      this.#grow(pages, promptIds.length);
      return await this.#prefill(promptIds, pages, adapter);
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

  #check({ promptIds, maxNewTokens, numBeams, numReturnSequences, temperature }: IdsRequest, index: number): void {
    const { vocabSize, maxLength } = this.model.config;
    if (promptIds.length === 0) throw new DataError(`prompt ${index} is empty`);
    const bad = promptIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined) throw new DataError(`prompt ${index} has the id ${bad}, the vocabulary has ${vocabSize}`);
    if (promptIds.length + maxNewTokens > maxLength) {
      throw new DataError(
        `prompt ${index} has ${promptIds.length} tokens and asks for ${maxNewTokens} more; the model holds ${maxLength}`,
      );
    }
    const { pageSize, pages } = this.#forward.options;
    if (Math.ceil((promptIds.length + maxNewTokens) / pageSize) * (numBeams ?? 1) > pages) {
      throw new DataError(`prompt ${index} needs more than the ${pages} pages of the cache`);
    }
    if ((numBeams ?? 1) > 1 && temperature)
      throw new ConfigError("beam search and sampling exclude each other: set temperature to 0 or num_beams to 1");
    if ((numBeams ?? 1) > 1 && (numReturnSequences ?? 1) > numBeams!)
      throw new ConfigError(`num_return_sequences ${numReturnSequences} is over num_beams ${numBeams}`);
  }

  #eosOf(request: GenerateOptions): ReadonlySet<number> {
    return new Set(request.eosTokenIds ?? this.model.generation.eosTokenIds);
  }

  /** Sequences join when pages are free and leave when they end. */
  async #decode(
    indexes: readonly number[],
    requests: readonly IdsRequest[],
    adapter: AdapterWeights | undefined,
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
          await this.#step(running, adapter, (state, reason) => this.#end(state, reason, done, requests, finish));
        running = running.filter((state) => state.pages.length > 0);
      }
    } finally {
      for (const state of running) this.#free(state);
    }
  }

  /** One pass: a token of every sequence that is past its prompt, and chunks of prompts as far as rows last. */
  async #step(
    running: readonly Running[],
    adapter: AdapterWeights | undefined,
    end: (state: Running, reason: FinishReason) => void,
  ): Promise<void> {
    const { maxRows } = this.#forward.options;
    const rows: Row[] = [];
    const wanted: Running[] = [];
    for (const [sequence, state] of running.entries()) {
      const count = Math.min(state.ids.length - state.cached, maxRows - rows.length);
      for (let i = 0; i < count; i++) {
        const position = state.cached + i;
        const isWanted = position === state.ids.length - 1;
        rows.push({ id: state.ids[position]!, position, sequence, isWanted });
        if (isWanted) wanted.push(state);
      }
      state.cached += count;
    }
    const logits = await this.#forward.run(
      rows,
      running.map((state) => state.pages),
      adapter,
    );
    const { vocabSize } = this.model.config;
    for (const [i, state] of wanted.entries())
      this.#extend(state, logits.subarray(i * vocabSize, (i + 1) * vocabSize), end);
  }

  #extend(state: Running, logits: Float32Array, end: (state: Running, reason: FinishReason) => void): void {
    const { request } = state;
    const scores = Float64Array.from(logits);
    for (const process of state.processors) process(scores, state.ids);
    const id = request.temperature ? sample(scores, state.random) : argmax(scores);
    const isEos = this.#eosOf(request).has(id);
    state.ids.push(id);
    if (request.logprobs) state.logprobs.push(logSoftmax(logits)[id]!);
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

  async #beamSearch(
    request: IdsRequest,
    adapter: AdapterWeights | undefined,
    signal: AbortSignal | undefined,
  ): Promise<IdsSequence[]> {
    const { promptIds, maxNewTokens } = request;
    const beams = request.numBeams!;
    const eosTokenIds = this.#eosOf(request);
    const search = new BeamSearch({
      beams,
      maxNewTokens,
      lengthPenalty: request.lengthPenalty ?? 1,
      earlyStopping: request.earlyStopping ?? false,
      eosTokenIds,
    });
    const processors = processorsFor(request);
    let pages: number[][] = [[]];
    try {
      this.#grow(pages[0]!, promptIds.length);
      const first = await this.#prefill(promptIds, pages[0]!, adapter);
      // The prompt's pages are the first beam's; the others share them.
      const [prompt] = pages;
      while (pages.length < beams) pages.push(this.#shareAll(prompt!));
      let logits: Float32Array[] = Array.from({ length: beams }, () => first);
      for (;;) {
        signal?.throwIfAborted();
        const scores = logits.map((own, b) => {
          const logs = logSoftmax(own);
          for (const process of processors) process(logs, [...promptIds, ...search.running[b]!.ids]);
          return logs;
        });
        search.advance(scores);
        if (search.isDone) break;
        const position = promptIds.length + search.running[0]!.ids.length - 1;
        const { children, copies } = this.#reorder(
          pages,
          search.running.map((beam) => beam.parent),
          position,
        );
        pages = children;
        await this.#forward.copyPages(copies);
        const rows = search.running.map((beam, sequence): Row => ({
          id: beam.ids.at(-1)!,
          position,
          sequence,
          isWanted: true,
        }));
        const all = await this.#forward.run(rows, pages, adapter);
        const { vocabSize } = this.model.config;
        logits = rows.map((_, b) => all.subarray(b * vocabSize, (b + 1) * vocabSize));
      }
    } finally {
      for (const own of pages) for (const page of own) this.#pages.release(page);
    }
    return search.results(request.numReturnSequences ?? 1).map(({ ids, score }) => ({
      ids,
      score,
      finishReason: eosTokenIds.has(ids.at(-1)!) ? "stop" : "length",
    }));
  }

  #shareAll(pages: readonly number[]): number[] {
    for (const page of pages) this.#pages.share(page);
    return [...pages];
  }

  /** Pages of the children of each parent, with room for one more token at `length`: full pages are shared, the last one is copied where it is not alone. */
  #reorder(
    pages: readonly number[][],
    parents: readonly number[],
    length: number,
  ): { children: number[][]; copies: { from: number; to: number }[] } {
    const { pageSize } = this.#forward.options;
    const children = parents.map((parent) => this.#shareAll(pages[parent]!));
    for (const own of pages) for (const page of own) this.#pages.release(page);
    const copies: { from: number; to: number }[] = [];
    for (const own of children) {
      if (length % pageSize === 0) {
        own.push(this.#takePage());
      } else if (this.#pages.isShared(own.at(-1)!)) {
        const from = own.pop()!;
        const to = this.#takePage();
        own.push(to);
        copies.push({ from, to });
        this.#pages.release(from);
      }
    }
    return { children, copies };
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
    while (pages.length * this.#forward.options.pageSize < tokens) pages.push(this.#takePage());
  }

  #takePage(): number {
    const page = this.#pages.take();
    if (page === undefined) throw new DataError(`the cache of ${this.#pages.total} pages is full`);
    return page;
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
