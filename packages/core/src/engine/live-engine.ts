/** The engine on a device: one loop that asks the scheduler what runs next, runs it, and hands out what came of it. */
import { DataError } from "../errors/index.ts";
import {
  applyProcessors,
  argmax,
  cacheOptionsFor,
  type Draw,
  drawFor,
  logSoftmax,
  PageAllocator,
  PagedForward,
  type Processor,
  processorsFor,
  type Row,
  sample,
} from "../generate/index.ts";
import type { BaseModel } from "../models/index.ts";
import { virtualIdsOf } from "../nn/index.ts";
import { Random } from "../random/index.ts";
import type { Tokenizer } from "../text/index.ts";
import { AdapterBank, type OpenedAdapter, type Version } from "./adapter-bank.ts";
import type {
  AdapterInfo,
  Engine,
  EngineEvent,
  EngineInfo,
  EngineRequest,
  EngineStats,
  TokenLogprob,
} from "./engine.ts";
import { Scheduler } from "./scheduler.ts";
import { TextStream } from "./text-stream.ts";

export interface LiveEngineOptions {
  readonly model: BaseModel;
  readonly tokenizer: Tokenizer;
  /** Reads and uploads an adapter folder; core does not know methods. */
  readonly openAdapter: (path: string) => Promise<OpenedAdapter>;
  readonly maxSequences?: number;
  readonly pageSize?: number;
  readonly maxRows?: number;
  readonly pages?: number;
}

interface Job {
  readonly request: EngineRequest;
  readonly group: string;
  readonly version: Version | undefined;
  /** Virtual tokens, prompt, new tokens. */
  readonly ids: number[];
  /** Of the first two. */
  readonly promptLength: number;
  readonly pages: number[];
  readonly random: Random;
  readonly processors: readonly Processor[];
  readonly text: TextStream;
  readonly eos: ReadonlySet<number>;
  readonly promptLogprobs: (TokenLogprob | null)[];
  readonly events: EngineEvent[];
  cached: number;
  isOver: boolean;
  error: unknown;
  wake: () => void;
  pending(): number;
}

/** Starts the loop. Closing ends all requests with "abort". */
export function createEngine(options: LiveEngineOptions): Engine {
  return new LiveEngine(options);
}

class LiveEngine implements Engine {
  readonly info: EngineInfo;
  #tokenizer: Tokenizer;
  #openAdapter: LiveEngineOptions["openAdapter"];
  #forward: PagedForward;
  #pages: PageAllocator;
  #bank: AdapterBank;
  #scheduler: Scheduler<Job>;
  #waiting: Job[] = [];
  #maxSequences: number;
  #isClosed = false;
  #loop: Promise<void>;
  #wakeLoop: () => void = () => undefined;
  #generatedTokens = 0;
  #promptTokens = 0;
  /** Freeing touches programs, so it waits for the pass that is running. */
  #pass: Promise<unknown> = Promise.resolve();

  constructor({
    model,
    tokenizer,
    openAdapter,
    maxSequences = 32,
    pageSize = 16,
    maxRows = 256,
    pages,
  }: LiveEngineOptions) {
    this.#tokenizer = tokenizer;
    this.#openAdapter = openAdapter;
    this.#maxSequences = maxSequences;
    const { config, device } = model;
    this.info = {
      modelPath: model.path,
      modelType: model.definition.modelType,
      vocabSize: config.vocabSize,
      maxLength: config.maxLength,
      eosTokenIds: model.generation.eosTokenIds,
      device: device.info.description || device.info.device,
    };
    const cache = cacheOptionsFor(config, device.capabilities, {
      maxSequences,
      pageSize,
      maxRows,
      ...(pages ? { pages } : {}),
    });
    this.#pages = new PageAllocator(cache.pages);
    this.#forward = new PagedForward(model, cache);
    this.#scheduler = new Scheduler({ maxRows, maxSequences });
    this.#bank = new AdapterBank(async (weights) => {
      await this.#pass.catch(() => undefined);
      await this.#forward.forget(weights);
      weights.destroy();
    });
    this.#loop = this.#run();
  }

  async *generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    const version = request.adapter === undefined ? undefined : this.#bank.hold(request.adapter);
    const virtual = virtualIdsOf(version?.weights.adapter);
    try {
      this.#check(request, virtual.length);
    } catch (error) {
      if (version) await this.#bank.release(version);
      throw error;
    }
    const job = this.#job(request, version, virtual);
    const abort = (): void => {
      if (!job.isOver) this.#finish(job, "abort");
    };
    signal?.addEventListener("abort", abort);
    this.#waiting.push(job);
    this.#wakeLoop();
    if (signal?.aborted) abort();
    try {
      for (;;) {
        while (job.events.length > 0) yield job.events.shift()!;
        if (job.error !== undefined) throw job.error;
        if (job.isOver && job.events.length === 0) return;
        await new Promise<void>((resolve) => {
          job.wake = resolve;
          if (job.events.length > 0 || job.isOver) resolve();
        });
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      // The caller went away in the middle.
      abort();
    }
  }

  async loadAdapter(name: string, path: string): Promise<AdapterInfo> {
    const opened = await this.#openAdapter(path);
    return this.#bank.publish(name, opened);
  }

  unloadAdapter(name: string): Promise<void> {
    return this.#bank.remove(name);
  }

  adapters(): readonly AdapterInfo[] {
    return this.#bank.list();
  }

  async stats(): Promise<EngineStats> {
    return {
      running: this.#scheduler.running.length,
      waiting: this.#waiting.length,
      kvPagesUsed: this.#pages.used,
      kvPagesTotal: this.#pages.total,
      adapters: this.#bank.list().length,
      generatedTokens: this.#generatedTokens,
      promptTokens: this.#promptTokens,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wakeLoop();
    await this.#loop;
    for (const job of [...this.#waiting, ...this.#scheduler.running]) this.#finish(job, "abort");
    await this.#bank.clear();
    await this.#forward.destroy();
  }

  #check({ promptIds, maxNewTokens, numBeams }: EngineRequest, virtualTokens: number): void {
    const { vocabSize, maxLength } = this.info;
    if (promptIds.length === 0) throw new DataError("the prompt is empty");
    const bad = promptIds.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined) throw new DataError(`the prompt has the id ${bad}, the vocabulary has ${vocabSize}`);
    const length = virtualTokens + promptIds.length + maxNewTokens;
    if (length > maxLength) {
      const before = virtualTokens > 0 ? `, the adapter puts ${virtualTokens} before them,` : "";
      throw new DataError(
        `the prompt has ${promptIds.length} tokens${before} and asks for ${maxNewTokens} more; the model holds ${maxLength}`,
      );
    }
    if (this.#pagesFor(length) > this.#pages.total)
      throw new DataError(`the request needs more than the ${this.#pages.total} pages of the cache`);
    if ((numBeams ?? 1) > 1) throw new DataError("beam search is not served; use graft generate --num-beams");
  }

  #pagesFor(tokens: number): number {
    return Math.ceil(tokens / this.#forward.options.pageSize);
  }

  #job(request: EngineRequest, version: Version | undefined, virtual: readonly number[]): Job {
    const job: Job = {
      request,
      // What cannot stand in one pass with other adapters gets passes of its own.
      group: version && !this.#forward.canShare(version.weights) ? version.id : "",
      version,
      ids: [...virtual, ...request.promptIds],
      promptLength: virtual.length + request.promptIds.length,
      pages: [],
      random: new Random(request.seed ?? 0),
      processors: processorsFor(request),
      text: new TextStream(this.#tokenizer.streamDecoder(), request.stop),
      eos: new Set(request.eosTokenIds ?? this.info.eosTokenIds),
      promptLogprobs: [null],
      events: [],
      cached: 0,
      isOver: false,
      error: undefined,
      wake: () => undefined,
      pending: () => job.ids.length - job.cached,
    };
    return job;
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      this.#admit();
      const chosen = this.#scheduler.next();
      if (chosen.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wakeLoop = resolve;
          if (this.#waiting.length > 0 || this.#isClosed) resolve();
        });
        continue;
      }
      const pass = this.#runPass(chosen);
      this.#pass = pass;
      try {
        await pass;
      } catch (error) {
        for (const { job } of chosen) {
          job.error = error;
          this.#finish(job, "abort");
        }
      }
      // Callers get their turn between passes.
      await new Promise<void>((resume) => setImmediate(resume));
    }
  }

  /** First come, first served; room for all a request may ever need is reserved, so that nothing is taken back. */
  #admit(): void {
    while (this.#waiting.length > 0 && this.#scheduler.running.length < this.#maxSequences) {
      const job = this.#waiting[0]!;
      const need = this.#pagesFor(job.promptLength + job.request.maxNewTokens);
      if (need > this.#pages.free) return;
      this.#waiting.shift();
      for (let i = 0; i < need; i++) job.pages.push(this.#pages.take()!);
      this.#promptTokens += job.request.promptIds.length;
      this.#scheduler.add(job);
    }
  }

  async #runPass(chosen: readonly { readonly job: Job; readonly tokens: number }[]): Promise<void> {
    const rows: Row[] = [];
    const readers: { job: Job; position: number; draw: Draw | undefined }[] = [];
    for (const [sequence, { job, tokens }] of chosen.entries()) {
      for (let i = 0; i < tokens; i++) {
        const position = job.cached + i;
        const isLast = position === job.ids.length - 1;
        const isWanted = isLast || (job.request.promptLogprobs === true && isInPrompt(job, position));
        const draw = isLast ? drawFor(job.request, job.random) : undefined;
        rows.push({ id: job.ids[position]!, position, sequence, isWanted, draw });
        if (isWanted) readers.push({ job, position, draw });
      }
    }
    const pages = chosen.map(({ job }) => [...job.pages]);
    // Only what looks at more than the chosen token brings its logits back.
    const needsLogits = readers.some(({ job, draw }) => draw === undefined || job.request.logprobs);
    const adapters = chosen.map(({ job }) => job.version?.weights);
    const next = await this.#forward.next(rows, pages, adapters, needsLogits);
    for (const { job, tokens } of chosen) job.cached += tokens;
    const { vocabSize } = this.info;
    for (const [i, { job, position, draw }] of readers.entries()) {
      if (job.isOver) continue;
      const error = next.errors.get(i);
      if (error) {
        job.error = error;
        this.#finish(job, "abort");
        continue;
      }
      const own = next.logits?.subarray(i * vocabSize, (i + 1) * vocabSize);
      if (position < job.promptLength - 1)
        job.promptLogprobs.push(tokenLogprob(own!, job.ids[position + 1]!, job.request.logprobs ?? 0));
      // What a request gets must not depend on what others in the pass asked for.
      else if (draw) this.#extend(job, next.ids[i]!, job.request.logprobs ? own! : next.logprobs[i]!);
      else this.#extend(job, choose(job, own!), own!);
    }
  }

  /** `given`: the logits, or the log-probability of the id where no more is asked for. */
  #extend(job: Job, id: number, given: Float32Array | number): void {
    const { request } = job;
    const fresh = job.ids.length - job.promptLength;
    if (fresh === 0 && request.promptLogprobs) job.events.push({ type: "prompt", logprobs: job.promptLogprobs });
    if (request.maxNewTokens === 0) return this.#finish(job, "length");
    this.#generatedTokens++;
    if (job.eos.has(id)) return this.#finish(job, "stop");
    job.ids.push(id);
    const text = job.text.push(id);
    const event = { type: "token" as const, id, text };
    if (request.logprobs === undefined) job.events.push(event);
    else if (typeof given === "number") job.events.push({ ...event, logprob: { id, logprob: given, top: [] } });
    else job.events.push({ ...event, logprob: tokenLogprob(given, id, request.logprobs) });
    job.wake();
    if (job.text.isStopped) this.#finish(job, "stop");
    else if (fresh + 1 >= request.maxNewTokens) this.#finish(job, "length");
  }

  #finish(job: Job, reason: "stop" | "length" | "abort"): void {
    if (job.isOver) return;
    job.isOver = true;
    this.#scheduler.remove(job);
    this.#waiting = this.#waiting.filter((other) => other !== job);
    const pages = job.pages.splice(0);
    const version = job.version;
    // A pass that is under way may still write to the pages: they are free once it has ended.
    void this.#pass
      .catch(() => undefined)
      .then(async () => {
        for (const page of pages) this.#pages.release(page);
        if (version) await this.#bank.release(version);
        this.#wakeLoop();
      });
    job.events.push({
      type: "finish",
      reason,
      text: job.text.flush(),
      ...(version ? { adapterVersion: version.id } : {}),
    });
    job.wake();
    this.#wakeLoop();
  }
}

/** Is the token after this position one of the prompt that has another before it? */
function isInPrompt({ promptLength, request }: Job, position: number): boolean {
  return position >= promptLength - request.promptIds.length && position < promptLength - 1;
}

function choose(job: Job, logits: Float32Array): number {
  const scores = Float64Array.from(logits);
  applyProcessors(job.processors, scores, job.ids);
  return job.request.temperature ? sample(scores, job.random) : argmax(scores);
}

function tokenLogprob(logits: Float32Array, id: number, top: number): TokenLogprob {
  const logs = logSoftmax(logits);
  const best = [...logs.keys()].toSorted((a, b) => logs[b]! - logs[a]! || a - b).slice(0, top);
  return { id, logprob: logs[id]!, top: best.map((other) => ({ id: other, logprob: logs[other]! })) };
}
