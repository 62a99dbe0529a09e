/** An engine behind messages: what comes in becomes calls, what comes of them goes out, all that one pass gives in one message. */
import type { TrainRunEvent, TrainRunOptions } from "@graft/adapters/train";
import type { DeviceEngine, EngineEvent, EngineRequest } from "@graft/core/engine";
import { DeviceLost } from "@graft/kernels/errors";
import type { FromWorker, Output, Reply, ToWorker } from "./protocol.ts";
import { toWire } from "./wire-error.ts";

export type HostedMessage = Exclude<ToWorker, { type: "start" | "close" }>;

export interface EngineHostOptions {
  readonly engine: DeviceEngine;
  /** Trains on the engine's base, taking turns with its requests. Aborted, it saves and ends. */
  readonly train: (options: TrainRunOptions, tools: TrainTools) => Promise<unknown>;
  readonly send: (message: FromWorker) => void;
  /** Called when the device is gone: nothing that is asked of the engine can succeed any more. */
  readonly onLost: (error: DeviceLost) => void;
}

interface TrainTools {
  readonly signal: AbortSignal;
  readonly onEvent: (event: TrainRunEvent) => void;
}

export class EngineHost {
  #engine: DeviceEngine;
  #train: EngineHostOptions["train"];
  #send: EngineHostOptions["send"];
  #onLost: EngineHostOptions["onLost"];
  #running = new Map<number, { controller: AbortController; isTraining: boolean; ended: Promise<void> }>();
  #outbox = new Map<number, { events: EngineEvent[]; error?: unknown }>();
  /** Adapters change one after the other, so that replies come in the order of their effect. */
  #adapterChange: Promise<void> = Promise.resolve();

  constructor({ engine, train, send, onLost }: EngineHostOptions) {
    this.#engine = engine;
    this.#train = train;
    this.#send = send;
    this.#onLost = onLost;
  }

  handle(message: HostedMessage): void {
    const { id } = message;
    switch (message.type) {
      case "generate":
        this.#run(id, false, (signal) => this.#generate(id, message.request, signal));
        return;
      case "train":
        this.#run(id, true, (signal) => this.#runTraining(id, message.options, signal));
        return;
      case "cancel":
        // One that has ended meanwhile needs no cancelling.
        this.#running.get(id)?.controller.abort();
        return;
      case "load":
        this.#changeAdapters(id, async () => {
          const adapter = await this.#engine.loadAdapter(message.name, message.path);
          return { type: "loaded", id, adapter };
        });
        return;
      case "unload":
        this.#changeAdapters(id, async () => {
          await this.#engine.unloadAdapter(message.name);
          return { type: "unloaded", id };
        });
        return;
      case "register":
        this.#changeAdapters(id, async () => {
          for (const info of message.adapters) this.#engine.registerAdapter(info);
          return { type: "registered", id };
        });
        return;
      case "pin":
        this.#changeAdapters(id, async () => {
          const adapter = this.#engine.pinAdapter(message.name, message.isPinned);
          return { type: "pinned", id, adapter };
        });
        return;
      case "adapters":
        void this.#reply(id, async () => ({ type: "adapters", id, adapters: [...this.#engine.adapters()] }));
        return;
      case "versions":
        void this.#reply(id, async () => ({ type: "versions", id, versions: [...this.#engine.keptVersions()] }));
        return;
      case "stats":
        void this.#reply(id, async () => ({ type: "stats", id, stats: await this.#engine.stats() }));
        return;
      default:
        message satisfies never;
    }
  }

  /** Asks all training to save and end; resolves when it has. Call it before the engine is closed. */
  async stopTraining(): Promise<void> {
    const training = [...this.#running.values()].filter(({ isTraining }) => isTraining);
    for (const { controller } of training) controller.abort();
    await Promise.all(training.map(({ ended }) => ended));
  }

  /** Resolves when the last event of every request is sent: call it when the engine is closed. */
  async drain(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
    this.#flush();
  }

  #run(id: number, isTraining: boolean, work: (signal: AbortSignal) => Promise<void>): void {
    const controller = new AbortController();
    const ended = work(controller.signal).finally(() => this.#running.delete(id));
    this.#running.set(id, { controller, isTraining, ended });
  }

  async #runTraining(id: number, options: TrainRunOptions, signal: AbortSignal): Promise<void> {
    try {
      await this.#train(options, {
        signal,
        onEvent: (event) => this.#send({ type: "training", id, events: [event] }),
      });
    } catch (error) {
      if (error instanceof DeviceLost) this.#onLost(error);
      else this.#send({ type: "training", id, events: [], error: toWire(error) });
    }
  }

  async #generate(id: number, request: EngineRequest, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of this.#engine.generate(request, signal)) this.#outputOf(id).events.push(event);
    } catch (error) {
      if (error instanceof DeviceLost) this.#onLost(error);
      else this.#outputOf(id).error = error;
    }
  }

  #outputOf(id: number) {
    // The engine wakes all readers of a pass before the event loop turns: what is there then is the pass.
    if (this.#outbox.size === 0) setImmediate(() => this.#flush());
    const output = this.#outbox.get(id) ?? { events: [] };
    this.#outbox.set(id, output);
    return output;
  }

  #flush(): void {
    if (this.#outbox.size === 0) return;
    const outputs = [...this.#outbox].map(([id, { events, error }]): Output => ({
      id,
      events,
      ...(error === undefined ? {} : { error: toWire(error) }),
    }));
    this.#outbox.clear();
    this.#send({ type: "outputs", outputs });
  }

  #changeAdapters(id: number, change: () => Promise<Reply>): void {
    this.#adapterChange = this.#adapterChange.then(() => this.#reply(id, change));
  }

  async #reply(id: number, work: () => Promise<Reply>): Promise<void> {
    try {
      this.#send(await work());
    } catch (error) {
      if (error instanceof DeviceLost) this.#onLost(error);
      else this.#send({ type: "refused", id, error: toWire(error) });
    }
  }
}
