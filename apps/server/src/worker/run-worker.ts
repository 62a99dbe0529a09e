/** The engine's process, from its first message to its last. */
import { type Device, openDevice, type OpenDeviceOptions } from "@graft/kernels";
import { EngineHost } from "./engine-host.ts";
import { type OpenEngine, openEngine } from "./open-engine.ts";
import { type EngineOptions, type FromWorker, parseToWorker } from "./protocol.ts";
import { toWire } from "./wire-error.ts";

/**
 * Listens to the parent. The process never ends by itself: it says "failed" or "closed" and waits for the parent to close the channel, so that no last word is lost
 * (main.ts ends it then). A message that is not of the protocol throws and ends it.
 */
export function runWorker(open: (options: OpenDeviceOptions) => Promise<Device> = openDevice): void {
  let opened: { device: Device; engine: OpenEngine; host: EngineHost } | undefined;
  let isOver = false;

  function send(message: FromWorker): void {
    if (!isOver && process.connected) process.send!(message);
  }
  function fail(error: unknown): void {
    send({ type: "failed", error: toWire(error) });
    isOver = true;
  }
  async function start({ tuning, ...options }: EngineOptions): Promise<void> {
    const device = await open(tuning ? { tuning } : {});
    // Also between requests: nobody should have to ask to find out.
    void device.lost.then(fail);
    const engine = openEngine(device, options);
    opened = { device, engine, host: new EngineHost({ ...engine, send, onLost: fail }) };
    send({ type: "ready", info: engine.engine.info });
  }
  async function close(): Promise<void> {
    await opened?.host.stopTraining();
    await opened?.engine.close();
    await opened?.host.drain();
    await opened?.device.close();
    send({ type: "closed" });
  }

  process.on("message", (raw: unknown) => {
    const message = parseToWorker(raw);
    if (isOver) return;
    if (message.type === "start") start(message.options).catch(fail);
    else if (message.type === "close") close().catch(fail);
    else if (opened) opened.host.handle(message);
    else throw new Error(`message to the engine's process: "${message.type}" before "ready"`);
  });
  send({ type: "listening" });
}
