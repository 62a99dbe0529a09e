/** An engine behind messages: what comes in becomes calls, what comes of them goes out, all that one pass gives in one message. */
import type { Engine, EngineEvent, EngineRequest } from "@graft/core/engine";
import { DeviceLost } from "@graft/kernels/errors";
import type { FromWorker, Output, Reply, ToWorker } from "./protocol.ts";
import { toWire } from "./wire-error.ts";

export type HostedMessage = Exclude<ToWorker, { type: "start" | "close" }>;

export interface EngineHostOptions {
  readonly engine: Engine;
  readonly send: (message: FromWorker) => void;
  /** Called when the device is gone: nothing that is asked of the engine can succeed any more. */
  readonly onLost: (error: DeviceLost) => void;
}

export class EngineHost {
  #engine: Engine;
  #send: EngineHostOptions["send"];
  #onLost: EngineHostOptions["onLost"];
  #running = new Map<number, { controller: AbortController; ended: Promise<void> }>();
  #outbox = new Map<number, { events: EngineEvent[]; error?: unknown }>();
  /** Adapters change one after the other, so that replies come in the order of their effect. */
  #adapterChange: Promise<void> = Promise.resolve();

  constructor({ engine, send, onLost }: EngineHostOptions) {
    this.#engine = engine;
    this.#send = send;
    this.#onLost = onLost;
  }

  handle(message: HostedMessage): void {
    const { id } = message;
    switch (message.type) {
      case "generate": {
        const controller = new AbortController();
        this.#running.set(id, { controller, ended: this.#generate(id, message.request, controller.signal) });
        return;
      }
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
      case "stats":
        void this.#reply(id, async () => ({ type: "stats", id, stats: await this.#engine.stats() }));
        return;
      default:
        message satisfies never;
    }
  }

  /** Resolves when the last event of every request is sent: call it when the engine is closed. */
  async drain(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
    this.#flush();
  }

  async #generate(id: number, request: EngineRequest, signal: AbortSignal): Promise<void> {
    try {
      for await (const event of this.#engine.generate(request, signal)) this.#outputOf(id).events.push(event);
    } catch (error) {
      if (error instanceof DeviceLost) this.#onLost(error);
      else this.#outputOf(id).error = error;
    } finally {
      this.#running.delete(id);
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
