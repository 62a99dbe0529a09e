/** The tensors of several adapters that differ in values alone, side by side: what a batch needs in which rows have different ones. */
import type { Device, DeviceBuffer } from "@graft/kernels";
import { sizeOf } from "../graph/graph.ts";
import type { Adapter } from "./adapter.ts";
import type { AdapterWeights } from "./adapter-weights.ts";

export class AdapterStack {
  /** Any of them: parameters and hooks are the same. */
  readonly adapter: Adapter;
  #device: Device;
  #buffers = new Map<string, DeviceBuffer>();
  #slots: (AdapterWeights | undefined)[] = [];

  constructor(device: Device, adapter: Adapter) {
    this.#device = device;
    this.adapter = adapter;
  }

  /** Adapters there is room for. */
  get capacity(): number {
    return this.#slots.length;
  }

  get isEmpty(): boolean {
    return this.#slots.every((slot) => slot === undefined);
  }

  /** [capacity, ...shape] of a parameter. */
  buffer(key: string): DeviceBuffer {
    return this.#buffers.get(key)!;
  }

  /** Place of an adapter; negative if it is not there. */
  slotOf(weights: AdapterWeights): number {
    return this.#slots.indexOf(weights);
  }

  /** Would all of them still fit into one binding each? */
  hasRoomFor(count: number): boolean {
    const free = this.#slots.filter((slot) => slot === undefined).length;
    if (count <= free) return true;
    const capacity = powerOfTwo(this.capacity - free + count);
    const largest = Math.max(...this.adapter.parameters.map(({ shape }) => bytesOf(shape)));
    return capacity * largest <= this.#device.capabilities.limits.maxStorageBufferBindingSize;
  }

  /** Copies an adapter's tensors, as they are now, into a free place; what does not fit into the buffers makes new ones. */
  async add(weights: AdapterWeights): Promise<void> {
    if (!this.#slots.includes(undefined)) await this.#grow();
    const slot = this.#slots.indexOf(undefined);
    this.#slots[slot] = weights;
    await this.#copy((encoder) => {
      for (const { key, shape } of this.adapter.parameters) {
        const bytes = bytesOf(shape);
        encoder.copyBufferToBuffer(weights.buffers.get(key)!.gpu, 0, this.buffer(key).gpu, slot * bytes, bytes);
      }
    });
  }

  remove(weights: AdapterWeights): void {
    const slot = this.slotOf(weights);
    if (slot >= 0) this.#slots[slot] = undefined;
  }

  destroy(): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
  }

  async #grow(): Promise<void> {
    const before = this.#buffers;
    const [used, capacity] = [this.capacity, powerOfTwo(this.capacity + 1)];
    this.#buffers = new Map(
      this.adapter.parameters.map(({ key, shape }) => [
        key,
        this.#device.createBuffer(capacity * bytesOf(shape), `stack of ${key}`),
      ]),
    );
    this.#slots.length = capacity;
    this.#slots.fill(undefined, used);
    await this.#copy((encoder) => {
      for (const { key, shape } of this.adapter.parameters) {
        const old = before.get(key);
        if (old) encoder.copyBufferToBuffer(old.gpu, 0, this.buffer(key).gpu, 0, used * bytesOf(shape));
      }
    });
    for (const buffer of before.values()) buffer.destroy();
  }

  #copy(record: (encoder: GPUCommandEncoder) => void): Promise<void> {
    return this.#device.scope(`stack of ${this.adapter.method} adapters`, () => {
      const encoder = this.#device.gpu.createCommandEncoder();
      record(encoder);
      this.#device.gpu.queue.submit([encoder.finish()]);
    });
  }
}

const bytesOf = (shape: readonly number[]): number => sizeOf(shape) * 4;
const powerOfTwo = (count: number): number => 2 ** Math.ceil(Math.log2(Math.max(2, count)));
