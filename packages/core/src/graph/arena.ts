/** Device memory for everything that lives inside a step, shared by all programs of one owner: they never run at once. */
import type { DeviceBuffer } from "@graft/kernels";

export interface Lease<B> {
  /** In the order asked; undefined where 0 bytes were asked. */
  readonly buffers: readonly (B | undefined)[];
  release(): void;
}

/** What an arena needs of a device: a plan may be tried where there is none. */
export interface SlotSource<B> {
  createBuffer(size: number, label: string): B;
}

interface Slot<B> {
  readonly buffer: B;
  users: number;
}

export class Arena<B extends Pick<DeviceBuffer, "size" | "destroy"> = DeviceBuffer> {
  #device: SlotSource<B>;
  #slots: Slot<B>[] = [];

  constructor(device: SlotSource<B>) {
    this.#device = device;
  }

  /** Bytes of all slots. */
  get bytes(): number {
    return this.#slots.reduce((sum, s) => sum + s.buffer.size, 0);
  }

  /** A different buffer for each size; buffers may be shared with other leases, so contents do not outlive a run. */
  lease(sizes: readonly number[]): Lease<B> {
    const taken = new Set<Slot<B>>();
    const buffers: (B | undefined)[] = sizes.map(() => undefined);
    const order = sizes.map((_, i) => i).toSorted((a, b) => sizes[b]! - sizes[a]! || a - b);
    for (const i of order) {
      const size = sizes[i]!;
      if (size === 0) continue;
      // Best fit among the slots this lease does not use yet.
      let best: Slot<B> | undefined;
      for (const slot of this.#slots) {
        if (taken.has(slot) || slot.buffer.size < size) continue;
        if (!best || slot.buffer.size < best.buffer.size) best = slot;
      }
      if (!best) {
        best = { buffer: this.#device.createBuffer(size, "arena slot"), users: 0 };
        this.#slots.push(best);
      }
      taken.add(best);
      buffers[i] = best.buffer;
    }
    for (const slot of taken) slot.users++;
    return {
      buffers,
      release: () => {
        for (const slot of taken) {
          slot.users--;
          if (slot.users > 0) continue;
          slot.buffer.destroy();
          this.#slots = this.#slots.filter((s) => s !== slot);
        }
        taken.clear();
      },
    };
  }
}
