/** The graph: a plain list of nodes in the order they will run. Shapes and dtypes are static; nothing here computes. */
import { weightBytes, weightStorages, type WeightType } from "@graft/kernels";
import { ShapeError, StackError } from "../errors/index.ts";
import type { Op, Attrs } from "./op.ts";

/** All but f32 are storage types of weights; arithmetic is f32. */
export type DType = WeightType | "i32" | "u32";

export interface Spec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A value that an op produced or that comes from outside. Handles are cheap and immutable. */
export interface Tensor extends Spec {
  readonly graph: Graph;
  /** Index into graph.values. */
  readonly id: number;
}

/** Where a value comes from: computed by a node, written before each run, or a buffer that outlives the step. */
export type Origin =
  | { readonly kind: "node"; readonly node: Node; readonly output: number }
  | { readonly kind: "input"; readonly name: string }
  | { readonly kind: "param"; readonly name: string }
  | { readonly kind: "constant"; readonly name: string; readonly data: Float32Array | Int32Array };

export interface Node {
  readonly op: Op;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly attrs: Attrs;
  /** Number of the block (transformer layer) that was being traced; the unit of recomputation. */
  readonly block: number | undefined;
}

export class Graph {
  readonly nodes: Node[] = [];
  readonly values: { readonly tensor: Tensor; readonly origin: Origin }[] = [];
  #named = new Map<string, Tensor>();
  #stacks = new Map<number, { readonly whole: Tensor; readonly group: Tensor }>();
  #block: number | undefined;

  /** A tensor the caller writes before each run. Asking again for a name gives the same tensor; throws ShapeError if the spec differs. */
  input(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    return this.#external("input", name, { shape, dtype });
  }

  /** A tensor that outlives the step: a weight, an adapter's parameter, optimizer state, a cache. Resolved by name when the graph is bound. */
  param(name: string, shape: readonly number[], dtype: DType = "f32"): Tensor {
    return this.#external("param", name, { shape, dtype });
  }

  /**
   * A param [groups, ...shape] that holds a tensor for each of several groups of rows, under a handle of `shape`, as if it were one. `group` [rows] i32 says which is a
   * row's own; none of them where it is negative. Products with it and row vectors from it are taken row by row; everything else throws StackError.
   */
  stack(name: string, groups: number, shape: readonly number[], group: Tensor): Tensor {
    const whole = this.param(name, [groups, ...shape]);
    this.#stacks.set(whole.id, { whole, group });
    return handle(this, whole.id, { shape, dtype: whole.dtype });
  }

  /** What is behind the handle of a stack; undefined for an ordinary tensor. */
  stackOf(tensor: Tensor): { readonly whole: Tensor; readonly group: Tensor } | undefined {
    return this.#stacks.get(tensor.id);
  }

  /** Data that belongs to the graph: a rotary table, ALiBi slopes. Uploaded once when the graph is bound. */
  constant(name: string, shape: readonly number[], data: Float32Array | Int32Array): Tensor {
    const known = this.#named.get(name);
    if (known) return known;
    const tensor = this.#value(
      { shape, dtype: data instanceof Float32Array ? "f32" : "i32" },
      { kind: "constant", name, data },
    );
    this.#named.set(name, tensor);
    return tensor;
  }

  /** Appends a node. Throws ShapeError, with the op's name, if the inputs do not fit. */
  apply<A extends Attrs>(op: Op<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
    for (const [i, t] of inputs.entries()) {
      if (t.graph !== this) throw new ShapeError(`${op.name}: an input belongs to another graph`);
      if (this.#stacks.has(t.id) && op.takesStack !== i)
        throw new StackError(`${op.name} does not take a stack of tensors, one for each group of rows`);
    }
    const outputs: Tensor[] = [];
    const node: Node = { op: op as unknown as Op, inputs, outputs, attrs, block: this.#block };
    this.nodes.push(node);
    for (const [output, spec] of op.infer(inputs, attrs).entries()) {
      outputs.push(this.#value(spec, { kind: "node", node, output }));
    }
    return outputs;
  }

  /** Marks all nodes traced inside `build` as one block. */
  block<T>(index: number, build: () => T): T {
    const outer = this.#block;
    this.#block = index;
    try {
      return build();
    } finally {
      this.#block = outer;
    }
  }

  originOf(tensor: Tensor): Origin {
    return this.values[tensor.id]!.origin;
  }

  #external(kind: "input" | "param", name: string, spec: Spec): Tensor {
    const known = this.#named.get(name);
    if (known) {
      if (this.originOf(known).kind !== kind || known.dtype !== spec.dtype || !sameShape(known.shape, spec.shape)) {
        throw new ShapeError(
          `${kind} ${name} is [${spec.shape}] ${spec.dtype} here, was [${known.shape}] ${known.dtype} before`,
        );
      }
      return known;
    }
    const tensor = this.#value(spec, { kind, name });
    this.#named.set(name, tensor);
    return tensor;
  }

  #value({ shape, dtype }: Spec, origin: Origin): Tensor {
    const tensor = handle(this, this.values.length, { shape, dtype });
    this.values.push({ tensor, origin });
    return tensor;
  }
}

function handle(graph: Graph, id: number, { shape, dtype }: Spec): Tensor {
  const tensor: Tensor = { graph, id, shape, dtype };
  // A handle prints without the whole graph behind it.
  Object.defineProperty(tensor, "graph", { enumerable: false });
  return tensor;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** Bytes of a tensor on the device: packed elements, then scales where the dtype has them. */
export function bytesOf({ shape, dtype }: Spec): number {
  return isInteger(dtype) ? sizeOf(shape) * 4 : weightBytes(dtype, shape).total;
}

/** Of the elements alone; half a byte for nf4. */
export function elementBytes(dtype: DType): number {
  return isInteger(dtype) ? 4 : weightStorages[dtype].bits / 8;
}

/** Where the scales of a tensor lie in its buffer; undefined for a dtype without. */
export function scalesOf({ shape, dtype }: Spec): { readonly offset: number; readonly size: number } | undefined {
  if (isInteger(dtype)) return undefined;
  const { scalesAt, scales } = weightBytes(dtype, shape);
  return scales === 0 ? undefined : { offset: scalesAt, size: scales };
}

function isInteger(dtype: DType): dtype is "i32" | "u32" {
  return dtype === "i32" || dtype === "u32";
}
