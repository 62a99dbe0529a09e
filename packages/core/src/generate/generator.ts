/** Generation and scoring over token ids: continuous batching on one paged cache, with one adapter, or none, or each request with its own. */
import { ConfigError, DataError } from "../errors/index.ts";
import type { Capabilities } from "@graft/kernels";
import type { BaseModel, ModelSizes } from "../models/index.ts";
import { type AdapterWeights, virtualIdsOf } from "../nn/index.ts";
import { decodeBeams } from "./beam-decode.ts";
import { pagesFor } from "./beam-run.ts";
import { decode } from "./decode.ts";
import type { IdsRequest, IdsSequence, OwnedRequest } from "./ids-request.ts";
import { type CacheOptions, PagedForward, type Row } from "./paged-forward.ts";
import { PageAllocator } from "./pages.ts";
import { scoreSequences, type SequenceScore } from "./score.ts";

export interface GeneratorOptions {
  readonly pageSize?: number;
  /** Sequences that run at once. */
  readonly maxSequences?: number;
  readonly maxRows?: number;
  /** Pages of the cache; default: maxSequences full-length sequences, at most what 1 GiB holds. */
  readonly pages?: number;
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
    const { model } = this;
    const requests = given.map((request, index): OwnedRequest => {
      const own = "adapter" in request ? request.adapter : adapter;
      const virtual = virtualIdsOf(own?.adapter);
      this.#check(request, index, virtual.length);
      const eos = new Set(request.eosTokenIds ?? model.generation.eosTokenIds);
      return { ...request, index, adapter: own, promptIds: [...virtual, ...request.promptIds], eos };
    });
    const results: IdsSequence[][] = requests.map(() => []);
    const context = {
      forward: this.#forward,
      pages: this.#pages,
      vocabSize: model.config.vocabSize,
      signal: options.signal,
      finish: ({ index }: OwnedRequest, sequences: IdsSequence[]): void => {
        results[index] = sequences;
        options.onResult?.(index, sequences);
      },
    };
    const hasBeams = ({ numBeams, maxNewTokens }: OwnedRequest) => (numBeams ?? 1) > 1 && maxNewTokens > 0;
    const beams = Map.groupBy(requests.filter(hasBeams), (request) => request.adapter);
    for (const own of beams.values()) await decodeBeams(own, context);
    // What cannot stand in one pass with other adapters gets passes of its own.
    const plain = Map.groupBy(
      requests.filter((request) => !hasBeams(request)),
      (request) => (this.#isShareable(request.adapter) ? undefined : request.adapter),
    );
    for (const own of plain.values()) await decode(own, context);
    return results;
  }

  /**
   * ln p(id | everything before) for each token after the first, or from `from` on, and whether it was the most likely one. A sequence may have one id more than the
   * model holds: nothing follows the last. Floats do not depend on the other sequences of the call, nor on what is shared with them.
   */
  async score(
    sequences: readonly (readonly number[])[],
    adapter: AdapterWeights | undefined,
    options: {
      readonly signal?: AbortSignal | undefined;
      /** Called when a sequence is done, in whatever order they end. */
      readonly onResult?: ((index: number, score: SequenceScore) => void) | undefined;
      /** Of each sequence, the number of its first ids that are given and not scored; default 1. */
      readonly from?: readonly number[];
      /** What errors call the sequences. */
      readonly names?: readonly (string | undefined)[];
    } = {},
  ): Promise<SequenceScore[]> {
    const virtual = virtualIdsOf(adapter?.adapter);
    for (const [n, ids] of sequences.entries())
      this.#check({ promptIds: ids, maxNewTokens: 0, name: options.names?.[n] }, n, virtual.length, 1);
    const results: SequenceScore[] = [];
    await scoreSequences(
      sequences.map((ids, n) => ({
        ids: [...virtual, ...ids],
        from: virtual.length + Math.max(1, options.from?.[n] ?? 1),
      })),
      {
        forward: this.#forward,
        pages: this.#pages,
        vocabSize: this.model.config.vocabSize,
        adapter,
        signal: options.signal,
        finish(index, score) {
          results[index] = score;
          options.onResult?.(index, score);
        },
      },
    );
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
    uncached = 0,
  ): void {
    const name = given ?? `prompt ${index}`;
    const { vocabSize, maxLength } = this.model.config;
    if (promptIds.length === 0) throw new DataError(`${name} is empty`);
    const bad = promptIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined) throw new DataError(`${name} has the id ${bad}, the vocabulary has ${vocabSize}`);
    const length = virtualTokens + promptIds.length;
    if (length + maxNewTokens - uncached > maxLength) {
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
    if (pagesFor(length - uncached, maxNewTokens, numBeams ?? 1, pageSize) > pages) {
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
}
