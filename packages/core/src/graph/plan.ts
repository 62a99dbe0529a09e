/** Planning: which storage each value has, when it may be reused, and the list of kernel calls. Nothing touches a device. */
import type { Capabilities, Device, Kernel, Statics } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { bytesOf, elementBytes, type Graph, type Node, scalesOf, sizeOf, type Spec, type Tensor } from "./graph.ts";
import { fuse } from "./fuse.ts";
import type { LowerCall, Ref, RowPart } from "./op.ts";
import { liveNodes } from "./prune.ts";

/** A buffer of the plan: an arena slot shared by values that never live at once, or something from outside. */
export type Storage =
  | { readonly kind: "slot"; bytes: number }
  | { readonly kind: "input"; readonly name: string; readonly spec: Spec; readonly bytes: number }
  | { readonly kind: "param"; readonly name: string; readonly spec: Spec; readonly bytes: number }
  | {
      readonly kind: "constant";
      readonly name: string;
      readonly data: Float32Array | Int32Array;
      readonly bytes: number;
    };

export interface PlannedCall {
  readonly node: Node;
  readonly kernel: Kernel;
  readonly statics: Statics;
  readonly dims: Readonly<Record<string, number>>;
  readonly buffers: Readonly<Record<string, Ref>>;
}

export interface Plan {
  readonly storages: readonly Storage[];
  readonly calls: readonly PlannedCall[];
  /** Where each requested output lies at the end of the step. */
  readonly outputs: readonly { readonly ref: Ref; readonly spec: Spec }[];
  readonly bytes: {
    /** Sum of all slots: the peak of everything that lives inside a step. */
    readonly arena: number;
    readonly inputs: number;
    readonly constants: number;
    readonly params: number;
  };
}

/**
 * Plans a graph, fused (see fuse.ts). Values get whole buffers ("slots") rather than offsets in one arena, because WebGPU tracks usage per buffer: one buffer
 * cannot be read and written by the same dispatch through a read-only and a writable binding.
 * Slots are shared greedily, largest first (Pisarchyk & Lee 2020, arXiv:2001.03288, "greedy by size").
 */
export function plan(source: Graph, wanted: readonly Tensor[], capabilities: Capabilities): Plan {
  const { graph, outputs } = fuse(source, wanted);
  const nodes = liveNodes(graph, outputs);
  const values = new Storages(graph, nodes, outputs);
  const calls: PlannedCall[] = [];
  for (const [step, node] of nodes.entries()) {
    if (node.op.alias !== undefined) continue;
    node.op.lower(lowerCall(node, step, values, capabilities, calls));
  }
  const { storages, refOf } = values.assign();
  const planned = calls.map((call) => ({
    ...call,
    buffers: Object.fromEntries(Object.entries(call.buffers).map(([name, ref]) => [name, refOf(ref)])),
  }));
  const total = (kind: Storage["kind"]) => storages.reduce((sum, s) => (s.kind === kind ? sum + s.bytes : sum), 0);
  return {
    storages,
    calls: planned,
    outputs: outputs.map((t) => ({ ref: refOf(values.whole(t)), spec: { shape: t.shape, dtype: t.dtype } })),
    bytes: { arena: total("slot"), inputs: total("input"), constants: total("constant"), params: total("param") },
  };
}

interface Interval {
  bytes: number;
  first: number;
  last: number;
  /** External storages are never shared. */
  readonly external: Storage | undefined;
}

class Storages {
  readonly #intervals: Interval[] = [];
  readonly #ofValue = new Map<number, number>();
  readonly #end: number;

  constructor(graph: Graph, nodes: readonly Node[], outputs: readonly Tensor[]) {
    this.#end = nodes.length;
    const lastUse = new Map<number, number>();
    for (const [step, node] of nodes.entries()) for (const t of node.inputs) lastUse.set(t.id, step);
    for (const t of outputs) lastUse.set(t.id, this.#end);
    for (const [step, node] of nodes.entries()) {
      for (const t of node.inputs) this.#external(graph, t);
      for (const t of node.outputs) {
        const last = lastUse.get(t.id) ?? step;
        const taken = node.op.alias;
        if (taken === undefined) {
          this.#ofValue.set(t.id, this.#add({ bytes: bytesOf(t), first: step, last, external: undefined }));
        } else {
          const storage = this.#ofValue.get(node.inputs[taken]!.id)!;
          this.#ofValue.set(t.id, storage);
          const interval = this.#intervals[storage]!;
          interval.last = Math.max(interval.last, last);
        }
      }
    }
    for (const t of outputs) this.#external(graph, t);
  }

  #add(interval: Interval): number {
    this.#intervals.push({ ...interval, bytes: Math.ceil(interval.bytes / 16) * 16 });
    return this.#intervals.length - 1;
  }

  #external(graph: Graph, t: Tensor): void {
    const origin = graph.originOf(t);
    if (origin.kind === "node" || this.#ofValue.has(t.id)) return;
    const bytes = Math.ceil(bytesOf(t) / 16) * 16;
    const external: Storage =
      origin.kind === "constant"
        ? { ...origin, bytes }
        : { kind: origin.kind, name: origin.name, spec: { shape: t.shape, dtype: t.dtype }, bytes };
    this.#ofValue.set(t.id, this.#add({ bytes, first: 0, last: this.#end, external }));
  }

  whole(t: Tensor): Ref {
    return { storage: this.#ofValue.get(t.id)!, offset: 0, size: Math.ceil(bytesOf(t) / 16) * 16 };
  }

  /** Without the scales of a quantised value. */
  elements(t: Tensor): Ref {
    const whole = this.whole(t);
    const scales = scalesOf(t);
    return scales ? { ...whole, size: scales.offset } : whole;
  }

  scratch(step: number, bytes: number): Ref {
    return {
      storage: this.#add({ bytes, first: step, last: step, external: undefined }),
      offset: 0,
      size: Math.ceil(bytes / 16) * 16,
    };
  }

  assign(): { storages: Storage[]; refOf: (ref: Ref) => Ref } {
    const storages: Storage[] = [];
    const assigned = new Map<number, number>();
    const order = this.#intervals
      .map((_, i) => i)
      .toSorted((a, b) => this.#intervals[b]!.bytes - this.#intervals[a]!.bytes || a - b);
    const lives = new Map<number, Interval[]>();
    for (const i of order) {
      const interval = this.#intervals[i]!;
      const { external } = interval;
      let slot = external
        ? -1
        : storages.findIndex(
            (s, n) =>
              s.kind === "slot" &&
              lives.get(n)!.every((other) => other.last < interval.first || interval.last < other.first),
          );
      if (slot < 0) {
        slot = storages.push(external ?? { kind: "slot", bytes: interval.bytes }) - 1;
        lives.set(slot, []);
      }
      lives.get(slot)!.push(interval);
      assigned.set(i, slot);
    }
    return { storages, refOf: (ref) => ({ ...ref, storage: assigned.get(ref.storage)! }) };
  }
}

function lowerCall(
  node: Node,
  step: number,
  values: Storages,
  capabilities: Capabilities,
  calls: PlannedCall[],
): LowerCall {
  const limit = capabilities.limits.maxStorageBufferBindingSize;
  const alignment = capabilities.limits.minStorageBufferOffsetAlignment;
  const rowBytes = (t: Tensor) => sizeOf(t.shape.slice(1)) * elementBytes(t.dtype);
  return {
    inputs: node.inputs,
    outputs: node.outputs,
    attrs: node.attrs,
    capabilities,
    in(index) {
      const ref = values.elements(node.inputs[index]!);
      if (ref.size > limit) {
        throw new ShapeError(
          `${node.op.name}: input ${index} [${node.inputs[index]!.shape}] has ${ref.size} bytes, one binding of this device holds ${limit}`,
        );
      }
      return ref;
    },
    scales(index) {
      const t = node.inputs[index]!;
      const scales = scalesOf(t);
      return scales && { ...values.whole(t), ...scales };
    },
    out: (index) => values.whole(node.outputs[index]!),
    parts(index, align = 1): readonly RowPart[] {
      const t = node.inputs[index]!;
      const ref = values.elements(t);
      const rows = t.shape[0] ?? 1;
      if (ref.size <= limit) return [{ ref, begin: 0, end: rows }];
      const bytes = rowBytes(t);
      const unit = unitRows(bytes, alignment, align);
      const perPart = Math.floor(Math.floor(limit / bytes) / unit) * unit;
      if (perPart === 0) {
        throw new ShapeError(
          `${node.op.name}: a row of input ${index} has ${bytes} bytes, one binding of this device holds ${limit}`,
        );
      }
      const parts: RowPart[] = [];
      for (let begin = 0; begin < rows; begin += perPart) {
        const end = Math.min(rows, begin + perPart);
        const size = Math.ceil(((end - begin) * bytes) / 4) * 4;
        parts.push({ ref: { ...ref, offset: ref.offset + begin * bytes, size }, begin, end });
      }
      return parts;
    },
    outRows(index, begin, end) {
      const t = node.outputs[index]!;
      const bytes = rowBytes(t);
      return { ...values.whole(t), offset: begin * bytes, size: (end - begin) * bytes };
    },
    scratch: (bytes) => values.scratch(step, bytes),
    run(kernel, statics, dims, buffers) {
      calls.push({ node, kernel, statics, dims, buffers });
    },
  };
}

/** Smallest number of rows whose bytes are a multiple of the offset alignment, and a multiple of `align` rows. */
function unitRows(bytes: number, alignment: number, align: number): number {
  let rows = align;
  while ((rows * bytes) % alignment !== 0) rows += align;
  return rows;
}

/** A plan with tiles that were tried on the device, where it was opened with tuning; else as plan(). */
export async function tunedPlan(
  graph: Graph,
  outputs: readonly Tensor[],
  device: Pick<Device, "capabilities" | "tuner">,
): Promise<Plan> {
  const first = plan(graph, outputs, device.capabilities);
  const hasLearned = await device.tuner?.tune(first.calls);
  return hasLearned ? plan(graph, outputs, device.capabilities) : first;
}
