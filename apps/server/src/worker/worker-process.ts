/** One life of the engine's process: what is asked of it, what it answers, and how it ended. */
import type { TrainRunEvent, TrainRunOptions } from "@graft/adapters/train";
import type { AdapterInfo, EngineEvent, EngineInfo, EngineRequest, EngineStats } from "@graft/core/engine";
import { join } from "node:path";
import { type EngineOptions, type FromWorker, parseFromWorker, type Reply, type ToWorker } from "./protocol.ts";
import { fromWire } from "./wire-error.ts";

export interface WorkerProcessOptions {
  readonly engine: EngineOptions;
  /** File that the process runs. */
  readonly entry?: string;
  /** Called once, when the process is gone or of no more use; gives the error for what is in flight. */
  readonly onDeath: (reason: string) => Error;
}

/** A process that was asked to close and has not after this long is killed. */
const CLOSE_TIMEOUT_MS = 10_000;

/** What a request or a training run gives as it goes on; either ends with an event of its own. */
interface Stream {
  readonly events: (EngineEvent | TrainRunEvent)[];
  error: unknown;
  isOver: boolean;
  wake: () => void;
}

type CallMessage = Extract<
  ToWorker,
  { type: "load" | "unload" | "register" | "pin" | "adapters" | "versions" | "stats" }
>;

interface Call {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: unknown) => void;
}

export class WorkerProcess {
  /** Rejects with what opening the engine threw there, or an Error that says how the process ended. */
  readonly ready: Promise<EngineInfo>;
  readonly pid: number;
  #options: WorkerProcessOptions;
  #child;
  #opening = Promise.withResolvers<EngineInfo>();
  #closed = Promise.withResolvers<void>();
  #streams = new Map<number, Stream>();
  #calls = new Map<number, Call>();
  #lastId = 0;
  #isClosing = false;
  /** What everything that is still asked gets; undefined while the process lives. */
  #death: Error | undefined;

  constructor(options: WorkerProcessOptions) {
    this.#options = options;
    this.ready = this.#opening.promise;
    // Read by who waits for it; a process may also end when nobody does.
    this.ready.catch(() => undefined);
    this.#child = Bun.spawn([process.execPath, options.entry ?? join(import.meta.dir, "main.ts")], {
      // Standard output is for the command's results: what a driver prints goes to standard error.
      stdio: ["ignore", 2, 2],
      // Structured clones: JSON has no NaN.
      serialization: "advanced",
      ipc: (message) => this.#receive(message),
      // Nothing can be asked of it any more. If it is dead, its exit follows and says how it died.
      onDisconnect: () => {
        if (!this.#isClosing) this.#child.kill("SIGKILL");
      },
      onExit: (_, code, signal) => this.#die(signal === null ? `ended with code ${code}` : `was ended by ${signal}`),
    });
    this.pid = this.#child.pid;
  }

  generate(request: EngineRequest, signal?: AbortSignal): AsyncGenerator<EngineEvent> {
    return this.#stream((id) => ({ type: "generate", id, request }), signal) as AsyncGenerator<EngineEvent>;
  }

  /** Aborted, it saves a checkpoint and ends with the event "end". */
  train(options: TrainRunOptions, signal?: AbortSignal): AsyncGenerator<TrainRunEvent> {
    return this.#stream((id) => ({ type: "train", id, options }), signal) as AsyncGenerator<TrainRunEvent>;
  }

  async *#stream(
    ask: (id: number) => ToWorker,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EngineEvent | TrainRunEvent> {
    const id = this.#newId();
    const stream: Stream = { events: [], error: undefined, isOver: false, wake: () => undefined };
    const cancel = (): void => {
      if (!stream.isOver) this.#send({ type: "cancel", id });
    };
    this.#assertAlive();
    this.#streams.set(id, stream);
    try {
      this.#send(ask(id));
      // The answer to a cancel is the last event, with what was held back.
      signal?.addEventListener("abort", cancel);
      if (signal?.aborted) cancel();
      for (;;) {
        while (stream.events.length > 0) yield stream.events.shift()!;
        if (stream.error !== undefined) throw stream.error;
        if (stream.isOver) return;
        await new Promise<void>((resolve) => (stream.wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.#streams.delete(id);
      // The caller went away in the middle.
      cancel();
    }
  }

  async load(name: string, path: string): Promise<AdapterInfo> {
    return (await this.#call({ type: "load", id: this.#newId(), name, path }, "loaded")).adapter;
  }

  async unload(name: string): Promise<void> {
    await this.#call({ type: "unload", id: this.#newId(), name }, "unloaded");
  }

  async register(adapters: readonly AdapterInfo[]): Promise<void> {
    await this.#call({ type: "register", id: this.#newId(), adapters: [...adapters] }, "registered");
  }

  async pin(name: string, isPinned: boolean): Promise<AdapterInfo> {
    return (await this.#call({ type: "pin", id: this.#newId(), name, isPinned }, "pinned")).adapter;
  }

  async adapters(): Promise<AdapterInfo[]> {
    return (await this.#call({ type: "adapters", id: this.#newId() }, "adapters")).adapters;
  }

  async versions(): Promise<string[]> {
    return (await this.#call({ type: "versions", id: this.#newId() }, "versions")).versions;
  }

  async stats(): Promise<EngineStats> {
    return (await this.#call({ type: "stats", id: this.#newId() }, "stats")).stats;
  }

  /** Lets it end all requests and free its memory. False if it had to be killed because it did not. */
  async close(): Promise<boolean> {
    let isInTime = true;
    const timer = setTimeout(() => {
      isInTime = false;
      this.kill("did not close in time");
    }, CLOSE_TIMEOUT_MS);
    try {
      this.#isClosing = true;
      this.#send({ type: "close" });
      await this.#closed.promise;
      this.#child.disconnect();
      await this.#child.exited;
      return isInTime;
    } finally {
      clearTimeout(timer);
    }
  }

  kill(reason: string): void {
    this.#child.kill("SIGKILL");
    this.#die(reason);
  }

  #newId(): number {
    return ++this.#lastId;
  }

  #assertAlive(): void {
    if (this.#death) throw this.#death;
  }

  /** What waits for an answer that cannot come hears of the death, so this does not throw. */
  #send(message: ToWorker): void {
    if (this.#death) return;
    try {
      this.#child.send(message);
    } catch {
      // It is dead, and the news of it has not come yet.
      this.kill("closed its channel");
    }
  }

  async #call<T extends Reply["type"]>(message: CallMessage, expected: T): Promise<Extract<Reply, { type: T }>> {
    this.#assertAlive();
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    this.#calls.set(message.id, { resolve, reject });
    this.#send(message);
    const reply = await promise;
    if (reply.type === expected) return reply as Extract<Reply, { type: T }>;
    this.kill(`answered "${reply.type}" to "${message.type}"`);
    throw this.#death!;
  }

  #receive(raw: unknown): void {
    if (this.#death) return;
    let message: FromWorker;
    try {
      message = parseFromWorker(raw);
    } catch (error) {
      this.kill(`broke the protocol: ${error instanceof Error ? error.message : String(error)}`);
      return;
    }
    switch (message.type) {
      case "listening":
        this.#send({ type: "start", options: this.#options.engine });
        return;
      case "ready":
        this.#opening.resolve(message.info);
        return;
      case "outputs":
        for (const { id, events, error } of message.outputs) this.#deliver(id, events, error && fromWire(error));
        return;
      case "training":
        this.#deliver(message.id, message.events, message.error && fromWire(message.error));
        return;
      case "failed": {
        const error = fromWire(message.error);
        this.#opening.reject(error);
        this.kill(`failed: ${error.message}`);
        return;
      }
      case "closed":
        this.#closed.resolve();
        return;
      case "refused":
        this.#answer(message)?.reject(fromWire(message.error));
        return;
      case "loaded":
      case "unloaded":
      case "registered":
      case "pinned":
      case "adapters":
      case "versions":
      case "stats":
        this.#answer(message)?.resolve(message);
        return;
      default:
        message satisfies never;
    }
  }

  #deliver(id: number, events: readonly (EngineEvent | TrainRunEvent)[], error: unknown): void {
    // Events of a request that was left may still be on their way, and one that ended whole has not died since.
    const stream = this.#streams.get(id);
    if (!stream || stream.isOver) return;
    stream.events.push(...events);
    stream.error = error;
    stream.isOver = error !== undefined || ["finish", "end"].includes(events.at(-1)?.type ?? "");
    stream.wake();
  }

  #answer({ id }: Reply): Call | undefined {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    return call;
  }

  #die(reason: string): void {
    if (this.#death) return;
    const death = this.#options.onDeath(reason);
    this.#death = death;
    this.#opening.reject(new Error(`the engine's process ${reason} before it was ready`));
    this.#closed.resolve();
    for (const call of this.#calls.values()) call.reject(death);
    for (const id of this.#streams.keys()) this.#deliver(id, [], death);
  }
}
