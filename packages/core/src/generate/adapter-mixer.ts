/** Which adapters share a pass, and how: stacks of those that are alike, and the rest one by one. */
import type { DeviceBuffer } from "@graft/kernels";
import { type BaseModel, type Sharing, sharingOf, traceModelOf } from "../models/index.ts";
import { type AdapterMix, AdapterStack, type AdapterWeights } from "../nn/index.ts";

/** The adapters of a pass, as a program of it needs them. */
export interface Mixture {
  /** Programs of one key and shape are the same. */
  readonly key: string;
  readonly mix: AdapterMix;
  /** What a program of it reads: when one of these goes, so must the program. */
  readonly uses: readonly object[];
  buffer(name: string): DeviceBuffer;
  /** The inputs that say which rows are whose. adapters: of each row; undefined: none. */
  inputs(adapters: readonly (AdapterWeights | undefined)[]): Record<string, Int32Array>;
}

export class AdapterMixer {
  #model: BaseModel;
  #drop: (used: object) => Promise<void>;
  #sharing = new WeakMap<AdapterWeights, Sharing>();
  #stacks = new Map<string, AdapterStack>();
  #numbers = new WeakMap<object, number>();
  #count = 0;

  /** `drop` frees the programs that read a stack or adapter. */
  constructor(model: BaseModel, drop: (used: object) => Promise<void>) {
    this.#model = model;
    this.#drop = drop;
  }

  /** Can rows of this adapter stand in one pass with rows of others? */
  canShare(weights: AdapterWeights): boolean {
    return this.#sharingOf(weights) !== "alone";
  }

  /** A number for each object, for keys. */
  numberOf(object: object): number {
    const known = this.#numbers.get(object) ?? this.#count++;
    this.#numbers.set(object, known);
    return known;
  }

  /** Puts adapters that are alike into their stacks. All of them must be able to share. */
  async mixtureOf(adapters: readonly AdapterWeights[]): Promise<Mixture> {
    const bySignature = new Map<string, AdapterWeights[]>();
    const selected: AdapterWeights[] = [];
    for (const weights of adapters.toSorted((a, b) => this.numberOf(a) - this.numberOf(b))) {
      const { signature } = weights.adapter;
      if (this.#sharingOf(weights) === "stacked")
        bySignature.set(signature!, [...(bySignature.get(signature!) ?? []), weights]);
      else selected.push(weights);
    }
    const stacks: AdapterStack[] = [];
    for (const signature of [...bySignature.keys()].toSorted()) {
      const members = bySignature.get(signature)!;
      const stack = await this.#stackWith(signature, members);
      if (stack) stacks.push(stack);
      else selected.push(...members);
    }
    return this.#describe(stacks, selected);
  }

  /** Lets go of an adapter that is about to be freed, or whose values have changed. */
  async forget(weights: AdapterWeights): Promise<void> {
    for (const [signature, stack] of this.#stacks) {
      stack.remove(weights);
      if (!stack.isEmpty) continue;
      this.#stacks.delete(signature);
      await this.#drop(stack);
      stack.destroy();
    }
  }

  destroy(): void {
    for (const stack of this.#stacks.values()) stack.destroy();
    this.#stacks.clear();
  }

  /** The stack of a signature with all of these in it; undefined where they do not fit into the device's bindings. */
  async #stackWith(signature: string, members: readonly AdapterWeights[]): Promise<AdapterStack | undefined> {
    const stack = this.#stacks.get(signature) ?? new AdapterStack(this.#model.device, members[0]!.adapter);
    const missing = members.filter((weights) => stack.slotOf(weights) < 0);
    if (!stack.hasRoomFor(missing.length)) return undefined;
    this.#stacks.set(signature, stack);
    const { capacity } = stack;
    for (const weights of missing) await stack.add(weights);
    // Larger buffers are others than those the programs read.
    if (stack.capacity !== capacity) await this.#drop(stack);
    return stack;
  }

  #describe(stacks: readonly AdapterStack[], selected: readonly AdapterWeights[]): Mixture {
    const part = (object: object) => this.numberOf(object);
    return {
      key: `stacks ${stacks.map((s) => `${part(s)}x${s.capacity}`).join(",")} selected ${selected.map(part).join(",")}`,
      mix: {
        stacks: stacks.map(({ adapter, capacity }) => ({ adapter, capacity })),
        selected: selected.map(({ adapter }) => adapter),
      },
      uses: [...stacks, ...selected],
      buffer(name) {
        const [, kind, number, key] = /^(stack|adapter)\/(\d+)\/(.*)$/.exec(name)!;
        return kind === "stack" ? stacks[Number(number)]!.buffer(key!) : selected[Number(number)]!.buffers.get(key!)!;
      },
      inputs(adapters) {
        const fill = (of: (weights: AdapterWeights, row: number) => number) =>
          Int32Array.from(adapters, (weights, row) => (weights ? of(weights, row) : -1));
        return Object.fromEntries([
          ...stacks.map((stack, i) => [`group/${i}`, fill((weights) => stack.slotOf(weights))] as const),
          ...selected.map((own, i) => [`own/${i}`, fill((weights, row) => (weights === own ? row : -1))] as const),
        ]);
      },
    };
  }

  #sharingOf(weights: AdapterWeights): Sharing {
    const found = this.#sharing.get(weights) ?? sharingOf(traceModelOf(this.#model), weights.adapter);
    this.#sharing.set(weights, found);
    return found;
  }
}
