/** The engine in a process of its own: a crash of the driver ends that process, and another is started with the same base and adapters. */
import type { TrainRunEvent, TrainRunOptions } from "@graft/adapters/train";
import type { AdapterInfo, EngineEvent, EngineInfo, EngineRequest, EngineStats } from "@graft/core/engine";
import { resolve } from "node:path";
import { EngineUnavailable } from "../errors.ts";
import { Backoff } from "./backoff.ts";
import type { EngineOptions } from "./protocol.ts";
import { WorkerProcess } from "./worker-process.ts";

export interface EngineProcessOptions {
  readonly engine: EngineOptions;
  /** What a person should know: deaths, restarts, adapters that did not come back. */
  readonly log: (line: string) => void;
  /** Called when it is ready again after a death. */
  readonly onReady?: () => void;
  /** File that the process runs; tests have their own. */
  readonly entry?: string;
}

type State =
  | { readonly name: "starting"; readonly worker: WorkerProcess; readonly since: number }
  | { readonly name: "ready"; readonly worker: WorkerProcess; readonly since: number }
  | { readonly name: "down"; readonly until: number; readonly timer: Timer }
  | { readonly name: "closed" };

/**
 * While the process is away everything but info, adapters(), adapter() and close() throws EngineUnavailable. Requests that were in flight are not repeated: their callers decide.
 */
export class EngineProcess {
  #options: EngineProcessOptions;
  #state: State;
  #info: EngineInfo | undefined;
  /** What was loaded, to be loaded again. */
  #adapters = new Map<string, AdapterInfo>();
  #backoff = new Backoff();
  /** Why it is away. */
  #reason = "is starting";
  /** How long the last start took. */
  #startMs = 0;

  /** Resolves when the engine is ready. Throws what opening the device, the base or the tokenizer throws: a first start is not tried again. */
  static async start(options: EngineProcessOptions): Promise<EngineProcess> {
    const engine = new EngineProcess(options);
    await engine.#open();
    return engine;
  }

  private constructor(options: EngineProcessOptions) {
    this.#options = options;
    this.#state = this.#spawn();
  }

  get info(): EngineInfo {
    return this.#info!;
  }

  get isReady(): boolean {
    return this.#state.name === "ready";
  }

  /** Of the process that runs now; undefined while there is none. */
  get pid(): number | undefined {
    return this.#state.name === "ready" || this.#state.name === "starting" ? this.#state.worker.pid : undefined;
  }

  async *generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    yield* this.#worker().generate(request, signal);
  }

  /** Trains on the engine's base beside its requests. Aborted, it saves a checkpoint and ends with the event "end". */
  async *train(options: TrainRunOptions, signal?: AbortSignal): AsyncGenerator<TrainRunEvent> {
    yield* this.#worker().train(options, signal);
  }

  /** Checks a folder and points `name` at it. Requests in flight finish on the version they began with; a failed load changes nothing. */
  async loadAdapter(name: string, path: string): Promise<AdapterInfo> {
    const info = await this.#worker().load(name, resolve(path));
    this.#adapters.set(name, info);
    return info;
  }

  /** Points names at versions that were checked before, without reading them. */
  async registerAdapters(adapters: readonly Omit<AdapterInfo, "tier">[]): Promise<void> {
    const infos = adapters.map((info) => ({ ...info, tier: "disk" as const }));
    await this.#worker().register(infos);
    for (const info of infos) this.#adapters.set(info.name, info);
  }

  async pinAdapter(name: string, isPinned: boolean): Promise<AdapterInfo> {
    const info = await this.#worker().pin(name, isPinned);
    this.#adapters.set(name, info);
    return info;
  }

  async unloadAdapter(name: string): Promise<void> {
    await this.#worker().unload(name);
    this.#adapters.delete(name);
  }

  /** As last heard; where they are now, refreshAdapters() tells. */
  adapters(): readonly AdapterInfo[] {
    return [...this.#adapters.values()];
  }

  adapter(name: string): AdapterInfo | undefined {
    return this.#adapters.get(name);
  }

  /** Asks where they are. While the process is away: as last heard. */
  async refreshAdapters(): Promise<void> {
    if (this.#state.name !== "ready") return;
    for (const info of await this.#state.worker.adapters())
      if (this.#adapters.has(info.name)) this.#adapters.set(info.name, info);
  }

  /** Hashes of versions that a name points at or a request holds: their files may still have to be read. */
  async keptVersions(): Promise<readonly string[]> {
    return this.#worker().versions();
  }

  async stats(): Promise<EngineStats> {
    return this.#worker().stats();
  }

  async close(): Promise<void> {
    const state = this.#state;
    this.#state = { name: "closed" };
    this.#reason = "is closed";
    if (state.name === "down") clearTimeout(state.timer);
    else if (state.name === "ready") {
      if (!(await state.worker.close())) this.#options.log("the engine's process did not close in time and was killed");
    } else if (state.name === "starting") state.worker.kill("is not needed any more");
  }

  #worker(): WorkerProcess {
    if (this.#state.name === "ready") return this.#state.worker;
    throw this.#unavailable();
  }

  #spawn(): State {
    const { engine, entry } = this.#options;
    const worker = new WorkerProcess({
      engine,
      ...(entry === undefined ? {} : { entry }),
      onDeath: (reason) => this.#mourn(reason),
    });
    return { name: "starting", worker, since: performance.now() };
  }

  /** Waits for the process that was spawned, and gives it back its adapters. */
  async #open(): Promise<void> {
    if (this.#state.name !== "starting") throw this.#unavailable();
    const { worker, since } = this.#state;
    const info = await worker.ready;
    await this.#restoreAdapters(worker);
    // It was closed meanwhile.
    if (this.#state.name !== "starting") throw this.#unavailable();
    this.#info = info;
    this.#startMs = performance.now() - since;
    this.#state = { name: "ready", worker, since: performance.now() };
  }

  /** Their files are read when they are asked for: one that has changed or gone fails its requests, and says so. */
  async #restoreAdapters(worker: WorkerProcess): Promise<void> {
    const before = this.adapters().map((info) => ({ ...info, tier: "disk" as const }));
    if (before.length === 0) return;
    await worker.register(before);
    for (const info of before) this.#adapters.set(info.name, info);
  }

  /** Called once for each process that died, whenever that was; plans the next one. */
  #mourn(reason: string): EngineUnavailable {
    const state = this.#state;
    if (state.name === "closed") return this.#unavailable();
    this.#reason = reason;
    if (this.#info === undefined) {
      // The first start is its caller's to try again.
      this.#state = { name: "closed" };
    } else {
      const waitMs = this.#backoff.next(state.name === "ready" ? performance.now() - state.since : 0);
      this.#options.log(`the engine's process ${reason}; the next one is started in ${waitMs / 1000} s`);
      const timer = setTimeout(() => void this.#revive(), waitMs);
      this.#state = { name: "down", until: performance.now() + waitMs, timer };
    }
    return this.#unavailable();
  }

  async #revive(): Promise<void> {
    try {
      this.#state = this.#spawn();
    } catch (error) {
      this.#mourn(`could not be started (${String(error)})`);
      return;
    }
    try {
      await this.#open();
    } catch (error) {
      // Mostly the process has died, and #mourn has planned another.
      if (this.#state.name === "starting") this.#state.worker.kill(`could not be used (${String(error)})`);
      return;
    }
    const names = [...this.#adapters.keys()];
    const said = names.length > 10 ? `${names.length} adapters` : `adapters ${names.join(", ")}`;
    this.#options.log(`the engine is ready again${names.length > 0 ? ` with ${said}` : ""}`);
    this.#options.onReady?.();
  }

  #unavailable(): EngineUnavailable {
    const state = this.#state;
    const waitMs = state.name === "down" ? Math.max(0, state.until - performance.now()) : 0;
    const seconds = Math.max(1, Math.ceil((waitMs + this.#startMs) / 1000));
    return new EngineUnavailable(`the engine's process ${this.#reason}; try again in ${seconds} s`, seconds);
  }
}
