/** One request under beam search: which rows it computes next, on which pages, and what it makes of their logits. */
import { BeamSearch, type Hypothesis } from "./beam.ts";
import type { OwnedRequest } from "./ids-request.ts";
import { applyProcessors, logSoftmax, type Processor, processorsFor } from "./logits.ts";
import type { PageAllocator } from "./pages.ts";
import type { Row } from "./paged-forward.ts";
import type { PagedSequence } from "./prefix-trail.ts";

export interface BeamPass {
  /** Sequences are numbered from 0, as `pages`. */
  readonly rows: readonly Row[];
  readonly pages: readonly (readonly number[])[];
  /** Pages to be copied before the rows are computed. */
  readonly copies: readonly { readonly from: number; readonly to: number }[];
}

export interface BeamRequest extends OwnedRequest {
  readonly numBeams: number;
}

/** Pages that a search may hold at once: beams share the full pages of their prompt. */
export function pagesFor(promptTokens: number, newTokens: number, beams: number, pageSize: number): number {
  const shared = Math.floor(promptTokens / pageSize);
  return shared + beams * (Math.ceil((promptTokens + newTokens) / pageSize) - shared);
}

export class BeamRun {
  #request: BeamRequest;
  #search: BeamSearch;
  #processors: readonly Processor[];
  #allocator: PageAllocator;
  #pageSize: number;
  #prompt: PagedSequence;
  /** Pages of each beam; of the prompt alone until that is computed. */
  #pages: number[][];
  #copies: BeamPass["copies"] = [];

  /** `prompt`: on its pages, which the run releases in the end. */
  constructor(request: BeamRequest, prompt: PagedSequence, allocator: PageAllocator, pageSize: number) {
    this.#request = request;
    this.#prompt = prompt;
    this.#pages = [prompt.pages];
    this.#allocator = allocator;
    this.#pageSize = pageSize;
    this.#processors = processorsFor(request, request.promptIds.filter((id) => id >= 0).length);
    this.#search = new BeamSearch({
      beams: request.numBeams,
      maxNewTokens: request.maxNewTokens,
      lengthPenalty: request.lengthPenalty ?? 1,
      earlyStopping: request.earlyStopping ?? false,
      eosTokenIds: request.eos,
    });
  }

  get isDone(): boolean {
    return this.#search.isDone;
  }

  get isInPrompt(): boolean {
    return this.#prompt.cached < this.#request.promptIds.length;
  }

  /** At most `room` rows; undefined if that is too few. The logits of the wanted ones must go to take() before the next call. */
  next(room: number): BeamPass | undefined {
    const { promptIds, numBeams } = this.#request;
    if (this.isInPrompt) {
      if (room === 0 || !this.#prompt.isReady) return undefined;
      const begin = this.#prompt.cached;
      const chunk = promptIds.slice(begin, begin + room);
      this.#prompt.cached += chunk.length;
      const rows = chunk.map((id, i): Row => {
        const position = begin + i;
        return { id, position, sequence: 0, isWanted: position === promptIds.length - 1 };
      });
      return { rows, pages: this.#pages, copies: [] };
    }
    if (room < numBeams) return undefined;
    const position = promptIds.length + this.#search.running[0]!.ids.length - 1;
    const rows = this.#search.running.map((beam, sequence): Row => ({
      id: beam.ids.at(-1)!,
      position,
      sequence,
      isWanted: true,
    }));
    return { rows, pages: this.#pages, copies: this.#copies };
  }

  /** Logits of the wanted rows of the last pass; none while it was inside the prompt. */
  take(logits: readonly Float32Array[]): void {
    if (logits.length === 0) return;
    const { promptIds, numBeams } = this.#request;
    const isFirst = this.#pages.length < numBeams;
    if (isFirst) {
      // The prompt's pages are the first beam's; the others share them.
      const [prompt] = this.#pages;
      while (this.#pages.length < numBeams) this.#pages.push(this.#share(prompt!));
    }
    const scores = this.#search.running.map((beam, b) => {
      const logs = logSoftmax(logits[isFirst ? 0 : b]!);
      applyProcessors(this.#processors, logs, [...promptIds, ...beam.ids]);
      return logs;
    });
    this.#search.advance(scores);
    if (!this.isDone) this.#reorder(promptIds.length + this.#search.running[0]!.ids.length - 1);
  }

  /** The best hypotheses, best first. */
  results(): Hypothesis[] {
    return this.#search.results(this.#request.numReturnSequences ?? 1);
  }

  release(): void {
    for (const own of this.#pages.splice(0)) for (const page of own) this.#allocator.release(page);
  }

  /** Gives each beam the pages of its parent, with room for one more token at `length`: full pages are shared, the last one is copied where it is not alone. */
  #reorder(length: number): void {
    const parents = this.#pages;
    this.#pages = this.#search.running.map((beam) => this.#share(parents[beam.parent]!));
    for (const own of parents) for (const page of own) this.#allocator.release(page);
    const copies: { from: number; to: number }[] = [];
    for (const own of this.#pages) {
      if (length % this.#pageSize === 0) {
        own.push(this.#allocator.claim());
      } else if (this.#allocator.isShared(own.at(-1)!)) {
        const from = own.pop()!;
        const to = this.#allocator.claim();
        own.push(to);
        copies.push({ from, to });
        this.#allocator.release(from);
      }
    }
    this.#copies = copies;
  }

  #share(pages: readonly number[]): number[] {
    for (const page of pages) this.#allocator.share(page);
    return [...pages];
  }
}
