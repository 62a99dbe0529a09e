/** The engine on a device: one loop that asks the scheduler what runs next, runs it, and hands out what came of it. */
import { ConfigError, DataError, DeadlineExceeded } from "../errors/index.ts";
import type { Constraint, ConstraintMatcher } from "../generate/constraint.ts";
import { cacheOptionsFor, type Draw, PagedForward, type Row } from "../generate/index.ts";
import type { BaseModel } from "../models/index.ts";
import type { AdapterWeights } from "../nn/index.ts";
import type { Tokenizer } from "../text/index.ts";
import { EngineJob, type JobEnd } from "./_engine-job.ts";
import { countByAdapter } from "./_adapter-counts.ts";
import { AdapterBank } from "./adapter-bank.ts";
import type { AdapterLoader } from "./adapter-version.ts";
import type { AdapterInfo, DeviceEngine, EngineEvent, EngineInfo, EngineRequest, EngineStats } from "./engine.ts";
import { type Pass, Scheduler } from "./scheduler.ts";
import { TurnPolicy } from "./turn-policy.ts";
import { Turns } from "./turns.ts";

export interface LiveEngineOptions {
  readonly model: BaseModel;
  readonly tokenizer: Tokenizer;
  readonly adapters: AdapterLoader;
  /** Makes a matcher for each request with a constraint; without it such requests are refused. */
  readonly compileConstraint?: ((constraint: Constraint) => Promise<() => ConstraintMatcher>) | undefined;
  /** Requests that run at once; default 32. */
  readonly maxSequences?: number | undefined;
  readonly pageSize?: number | undefined;
  /** Tokens of a pass; default 256. */
  readonly maxRows?: number | undefined;
  readonly pages?: number | undefined;
  /** Tokens that may wait, prompts and what they ask for; default: any number. */
  readonly maxWaitingTokens?: number | undefined;
  /** Most bytes of adapters in RAM (default 2 GiB) and on the device (default 1 GiB). */
  readonly hostAdapterBytes?: number | undefined;
  readonly deviceAdapterBytes?: number | undefined;
  /** Mean time between two tokens of a request that training keeps under; default 100. */
  readonly decodeLatencyTargetMs?: number | undefined;
  /** Keep pages for later requests that begin alike; default true. */
  readonly prefixCache?: boolean | undefined;
}

/** A row whose next token, or that token's log-probability, is wanted. */
interface Reader {
  readonly job: EngineJob;
  readonly position: number;
  readonly draw: Draw | undefined;
}

/** Starts the loop. Closing ends all requests with "abort" and refuses turns that wait. */
export function createEngine(options: LiveEngineOptions): DeviceEngine {
  return new LiveEngine(options);
}

class LiveEngine implements DeviceEngine {
  readonly info: EngineInfo;
  #options: LiveEngineOptions;
  #forward: PagedForward;
  #bank: AdapterBank;
  #scheduler: Scheduler<EngineJob>;
  #turns = new Turns(() => this.#wake());
  #policy: TurnPolicy;
  #loop: Promise<void>;
  /** Why the loop has ended. */
  #end: Error | undefined;
  #isAwake = true;
  #resume: () => void = () => undefined;
  /** Freeing touches programs, so it waits for the pass that is running. */
  #pass: Promise<unknown> = Promise.resolve();
  #deadlineTimer: ReturnType<typeof setTimeout> | undefined;
  #generatedTokens = new Map<string, number>();
  #training = { steps: 0, tokens: 0 };

  constructor(options: LiveEngineOptions) {
    const { model, maxSequences = 32, pageSize = 16, maxRows = 256, pages, maxWaitingTokens, prefixCache } = options;
    const { config, device } = model;
    this.#options = options;
    const cache = cacheOptionsFor(config, device.capabilities, {
      maxSequences,
      pageSize,
      maxRows,
      ...(pages ? { pages } : {}),
    });
    this.#forward = new PagedForward(model, cache);
    this.info = {
      modelPath: model.path,
      modelType: model.definition.modelType,
      vocabSize: config.vocabSize,
      maxLength: config.maxLength,
      eosTokenIds: model.generation.eosTokenIds,
      device: device.info.description || device.info.device,
      weightsBytes: [...model.weights.values()].reduce((sum, { buffer }) => sum + buffer.size, 0),
      kvBytes: this.#forward.cacheBytes,
    };
    this.#scheduler = new Scheduler(
      { ...cache, maxWaitingTokens, prefixCache },
      { enter: (job) => this.#enter(job), leave: ({ held }) => held && this.#bank.leave(held) },
    );
    this.#bank = new AdapterBank(options.adapters, {
      hostBytes: options.hostAdapterBytes ?? 2 ** 31,
      deviceBytes: options.deviceAdapterBytes ?? 2 ** 30,
      free: (weights) => this.#free(weights),
      onReady: () => this.#wake(),
    });
    this.#policy = new TurnPolicy({ targetMs: options.decodeLatencyTargetMs ?? 100 });
    this.#loop = this.#run();
  }

  async *generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    const now = performance.now();
    const held = request.adapter === undefined ? undefined : this.#bank.hold(request.adapter);
    let job: EngineJob;
    try {
      this.#check(request, held?.info.virtualTokens ?? 0);
      const matcher = await this.#matcherFor(request);
      if (this.#end) throw this.#end;
      const decoder = this.#options.tokenizer.streamDecoder();
      // A constraint lets the model's own end tokens follow, whatever the request ends with.
      const own = request.constraint ? this.info.eosTokenIds : [];
      const eosTokenIds = request.eosTokenIds ? [...request.eosTokenIds, ...own] : this.info.eosTokenIds;
      job = new EngineJob({ request, held, matcher, decoder, eosTokenIds, now });
      this.#scheduler.add(job);
    } catch (error) {
      if (held) await this.#bank.release(held);
      throw error;
    }
    if (held) this.#bank.prefetch(held);
    if (job.deadline !== undefined) this.#watchDeadlines();
    this.#wake();
    const abort = (): void => this.#finish(job, { reason: "abort" });
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    try {
      yield* job.events();
    } finally {
      signal?.removeEventListener("abort", abort);
      // The caller may have gone away in the middle.
      abort();
    }
  }

  loadAdapter(name: string, path: string, options: { readonly isPinned?: boolean } = {}): Promise<AdapterInfo> {
    return this.#bank.load(name, path, options);
  }

  registerAdapter(info: Omit<AdapterInfo, "tier">): AdapterInfo {
    return this.#bank.register(info);
  }

  pinAdapter(name: string, isPinned: boolean): AdapterInfo {
    return this.#bank.pin(name, isPinned);
  }

  unloadAdapter(name: string): Promise<void> {
    return this.#bank.remove(name);
  }

  adapters(): readonly AdapterInfo[] {
    return this.#bank.list();
  }

  adapter(name: string): AdapterInfo | undefined {
    return this.#bank.get(name);
  }

  keptVersions(): readonly string[] {
    return this.#bank.keptVersions();
  }

  turn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.run(work);
  }

  countTraining({ steps, tokens }: { readonly steps: number; readonly tokens: number }): void {
    this.#training = { steps: this.#training.steps + steps, tokens: this.#training.tokens + tokens };
  }

  async stats(): Promise<EngineStats> {
    const { pagesHeld, pagesKept, ...scheduled } = this.#scheduler.stats();
    const { adapters, adaptersOnDevice, bytesOnDevice, bytesOnHost } = this.#bank.stats();
    return {
      ...scheduled,
      kvPagesUsed: pagesHeld,
      kvPagesCached: pagesKept,
      kvPagesTotal: this.#forward.options.pages,
      adapters,
      adaptersOnDevice,
      adapterBytesOnDevice: bytesOnDevice,
      adapterBytesOnHost: bytesOnHost,
      generatedTokens: this.#generatedTokens.values().reduce((a, b) => a + b, 0),
      trainingTurns: this.#turns.granted,
      trainingSteps: this.#training.steps,
      trainingTokens: this.#training.tokens,
      byAdapter: countByAdapter(this.#scheduler.running, this.#scheduler.waiting, this.#generatedTokens),
      deviceBytes: this.#options.model.device.liveBytes,
    };
  }

  async close(): Promise<void> {
    this.#end ??= new Error("the engine is closed");
    this.#turns.close();
    this.#wake();
    await this.#loop;
    clearTimeout(this.#deadlineTimer);
    for (const job of this.#jobs()) this.#finish(job, { reason: "abort" });
    await this.#bank.clear();
    await this.#forward.destroy();
  }

  #check({ promptIds, maxNewTokens, numBeams }: EngineRequest, virtualTokens: number): void {
    const { vocabSize, maxLength } = this.info;
    const { pages, pageSize } = this.#forward.options;
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
    if (Math.ceil(length / pageSize) > pages)
      throw new DataError(`the request needs more than the ${pages} pages of the cache`);
    if ((numBeams ?? 1) > 1) throw new DataError("beam search is not served; use graft generate --num-beams");
  }

  async #matcherFor({ constraint }: EngineRequest): Promise<ConstraintMatcher | undefined> {
    if (constraint === undefined) return undefined;
    const { compileConstraint } = this.#options;
    if (!compileConstraint) throw new ConfigError("constraint: this engine was made without a compiler of constraints");
    return (await compileConstraint(constraint))();
  }

  /** Can it run now? What cannot run at all fails at the end of the question: see #refuse. */
  #enter(job: EngineJob): boolean {
    const { held } = job;
    if (!held) return true;
    if (!this.#bank.enter(held)) return false;
    // What cannot stand in one pass with other adapters gets passes of its own.
    job.group = this.#forward.canShare(held.weights!) ? "" : held.id;
    return true;
  }

  async #free(weights: AdapterWeights): Promise<void> {
    await this.#pass.catch(() => undefined);
    await this.#forward.forget(weights);
    weights.destroy();
  }

  async #run(): Promise<void> {
    try {
      while (!this.#end) {
        this.#isAwake = false;
        await this.#runNext();
        // Callers get their turn between passes.
        await new Promise<void>((resume) => setImmediate(resume));
      }
    } catch (error) {
      // What no request has caused: nothing can run any more.
      this.#end = error instanceof Error ? error : new Error(String(error));
      this.#turns.close();
      for (const job of this.#jobs()) this.#fail(job, error);
    }
  }

  /** One turn of training, or one pass, or nothing until there is something to do. */
  async #runNext(): Promise<void> {
    const { running } = this.#scheduler;
    const isTraining = this.#turns.waiting > 0;
    if (isTraining && running.length > 0 && this.#policy.isDue) return this.#train(true);
    const pass = this.#scheduler.next(performance.now());
    this.#refuse();
    if (pass) await this.#execute(pass);
    else if (isTraining) await this.#train(false);
    else if (!this.#isAwake) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#resume = resolve;
      await promise;
    }
  }

  async #train(isInTheWay: boolean): Promise<void> {
    const begun = performance.now();
    this.#pass = this.#turns.grant();
    await this.#pass;
    this.#policy.trained(performance.now() - begun, isInTheWay);
  }

  /** Requests whose adapter turned out to be unusable. */
  #refuse(): void {
    for (const job of this.#scheduler.waiting) if (job.held?.error) this.#fail(job, job.held.error);
  }

  async #execute(pass: Pass<EngineJob>): Promise<void> {
    const decoding = this.#scheduler.running.filter((job) => job.isDecoding);
    const served = pass.chosen.filter(({ job, from, tokens }) => job.isDecoding && from + tokens === job.ids.length);
    const done = this.#runPass(pass);
    this.#pass = done;
    try {
      await done;
    } catch (error) {
      const failed = pass.chosen.map(({ job }) => job);
      this.#scheduler.end(pass, performance.now(), new Set(failed));
      for (const job of failed) this.#fail(job, error);
    }
    this.#policy.passed(performance.now() - pass.begun, decoding.length > 0 ? served.length / decoding.length : 1);
  }

  async #runPass(pass: Pass<EngineJob>): Promise<void> {
    const { chosen } = pass;
    const rows: Row[] = [];
    const readers: Reader[] = [];
    for (const [sequence, { job, from, tokens }] of chosen.entries()) {
      for (let position = from; position < from + tokens; position++) {
        const isLast = position === job.ids.length - 1;
        const isWanted = isLast || job.wantsPromptLogprob(position);
        const draw = isLast ? job.draw() : undefined;
        rows.push({ id: job.ids[position]!, position, sequence, isWanted, draw });
        if (isWanted) readers.push({ job, position, draw });
      }
    }
    const pages = chosen.map((one) => one.pages);
    const adapters = chosen.map(({ job }) => job.held?.weights);
    // Only what looks at more than the chosen token brings its logits back.
    const needsLogits = readers.some(({ job, draw }) => draw === undefined || job.request.logprobs);
    const next = await this.#forward.next(rows, pages, adapters, needsLogits);
    const errors = new Map([...next.errors].map(([i, error]) => [readers[i]!.job, error]));
    this.#scheduler.end(pass, performance.now(), new Set(errors.keys()));
    for (const [job, error] of errors) this.#fail(job, error);
    const { vocabSize } = this.info;
    for (const [i, reader] of readers.entries()) {
      const logits = next.logits?.subarray(i * vocabSize, (i + 1) * vocabSize);
      if (!reader.job.isOver) this.#take(reader, next.ids[i]!, next.logprobs[i]!, logits);
    }
  }

  #take({ job, position, draw }: Reader, id: number, logprob: number, logits: Float32Array | undefined): void {
    if (position < job.ids.length - 1) return job.notePromptLogprob(position, logits!);
    // What a request gets must not depend on what others in the pass asked for.
    const given = draw && !job.request.logprobs ? logprob : logits!;
    try {
      const end = job.extend(draw ? id : job.choose(logits!), given);
      if (job.request.maxNewTokens > 0)
        this.#generatedTokens.set(job.adapter, (this.#generatedTokens.get(job.adapter) ?? 0) + 1);
      if (end) this.#finish(job, end);
    } catch (error) {
      this.#fail(job, error);
    }
  }

  #finish(job: EngineJob, end: JobEnd): void {
    if (job.isOver) return;
    const cachedTokens = this.#scheduler.cachedTokens(job);
    this.#leave(job);
    job.finish({ ...end, cachedTokens });
  }

  #fail(job: EngineJob, error: unknown): void {
    if (job.isOver) return;
    this.#leave(job);
    job.fail(error);
  }

  #leave(job: EngineJob): void {
    this.#scheduler.remove(job);
    // What freeing throws, close() tells.
    if (job.held) void this.#bank.release(job.held).catch(() => undefined);
    this.#wake();
  }

  #wake(): void {
    this.#isAwake = true;
    this.#resume();
  }

  /** Sees to it that requests fail when their time is over, whatever else is going on. */
  #watchDeadlines(): void {
    clearTimeout(this.#deadlineTimer);
    const next = this.#scheduler.nextDeadline;
    if (next === undefined) return;
    const waitMs = Math.min(MAX_TIMER_MS, Math.max(0, Math.ceil(next - performance.now())));
    this.#deadlineTimer = setTimeout(() => {
      for (const job of this.#scheduler.expire(performance.now()))
        this.#fail(
          job,
          new DeadlineExceeded(`the request was not done within the ${job.request.deadlineMs} ms it gave`),
        );
      this.#watchDeadlines();
    }, waitMs);
  }

  #jobs(): EngineJob[] {
    return [...this.#scheduler.waiting, ...this.#scheduler.running];
  }
}

/** setTimeout fires at once for longer waits. */
const MAX_TIMER_MS = 2 ** 31 - 1;
