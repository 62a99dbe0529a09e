/** The tensors of one adapter on the device. */
import type { Device, DeviceBuffer } from "@graft/kernels";
import { CheckpointError } from "../errors/index.ts";
import { sizeOf } from "../graph/graph.ts";
import type { Adapter } from "./adapter.ts";

export class AdapterWeights {
  readonly adapter: Adapter;
  readonly buffers: ReadonlyMap<string, DeviceBuffer>;
  #device: Device;

  /** Uploads one tensor for each parameter. Throws CheckpointError naming a key that is missing or of the wrong size. */
  constructor(device: Device, adapter: Adapter, values: ReadonlyMap<string, Float32Array>, where: string) {
    this.#device = device;
    this.adapter = adapter;
    for (const { key, shape } of adapter.parameters) {
      const data = values.get(key);
      if (!data) throw new CheckpointError(`${where}: adapter tensor ${key} is missing`);
      if (data.length !== sizeOf(shape)) {
        throw new CheckpointError(
          `${where}: adapter tensor ${key} has ${data.length} values, this base needs [${shape}]`,
        );
      }
    }
    const buffers = new Map<string, DeviceBuffer>();
    this.buffers = buffers;
    try {
      for (const { key, shape } of adapter.parameters) {
        const buffer = device.createBuffer(sizeOf(shape) * 4, key);
        buffers.set(key, buffer);
        device.write(buffer, values.get(key)!);
      }
    } catch (error) {
      // Of an adapter that is too large nothing stays behind.
      this.destroy();
      throw error;
    }
  }

  /** The values as they are now. */
  async read(): Promise<Map<string, Float32Array>> {
    const values = new Map<string, Float32Array>();
    for (const { key, shape } of this.adapter.parameters) {
      values.set(key, new Float32Array(await this.#device.read(this.buffers.get(key)!, 0, sizeOf(shape) * 4)));
    }
    return values;
  }

  destroy(): void {
    for (const buffer of this.buffers.values()) buffer.destroy();
  }
}
