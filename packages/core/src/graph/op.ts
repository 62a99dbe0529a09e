/** What an op is. Each answers for itself: shapes, plain float64 meaning, gradient, and how it runs on the device. */
import type { Capabilities, Kernel, Statics, UnaryName } from "@graft/kernels";
import type { Spec, Tensor } from "./graph.ts";

export type Attrs = Readonly<Record<string, unknown>>;

/** Values of the float64 interpreter: every dtype is held in doubles. */
export type Values = Float64Array;

export interface InterpretCall<A extends Attrs = Attrs> {
  readonly inputs: readonly Values[];
  /** Zero at the start, to be written. Mutated inputs are written in place. */
  readonly outputs: readonly Values[];
  readonly inputSpecs: readonly Spec[];
  readonly outputSpecs: readonly Spec[];
  readonly attrs: A;
}

export interface GradCall<A extends Attrs = Attrs> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  /** Gradient of the loss for each output; undefined where none flows. At least one is defined. */
  readonly grads: readonly (Tensor | undefined)[];
  /** Which inputs lead to a trainable tensor: no work for the others. */
  readonly needs: readonly boolean[];
  readonly attrs: A;
}

/** Names a storage inside a plan; resolved to a buffer window when the plan is bound. */
export interface Ref {
  readonly storage: number;
  /** Byte window inside the storage. */
  readonly offset: number;
  readonly size: number;
}

/** Rows [begin, end) of a param whose elements are over the binding limit. */
export interface RowPart {
  readonly ref: Ref;
  readonly begin: number;
  readonly end: number;
}

export interface LowerCall<A extends Attrs = Attrs> {
  readonly inputs: readonly Spec[];
  readonly outputs: readonly Spec[];
  readonly attrs: A;
  readonly capabilities: Capabilities;
  /** The whole of an input, without its scales. Throws ShapeError naming op and size if it is over the binding limit. */
  in(index: number): Ref;
  /** All scales of a quantised input; undefined where its dtype has none. */
  scales(index: number): Ref | undefined;
  out(index: number): Ref;
  /** An input by rows of its first dimension, each part within the binding limit; one part when all fits. `align`: parts begin at multiples of it. */
  parts(index: number, align?: number): readonly RowPart[];
  /** Rows [begin, end) of the first dimension of an output. */
  outRows(index: number, begin: number, end: number): Ref;
  /** Device memory for this node alone. */
  scratch(bytes: number): Ref;
  /** Appends one kernel call. */
  run(
    kernel: Kernel,
    statics: Statics,
    dims: Readonly<Record<string, number>>,
    buffers: Readonly<Record<string, Ref>>,
  ): void;
}

export interface OpCase<A extends Attrs = Attrs> {
  readonly name: string;
  readonly inputs: readonly Spec[];
  readonly attrs: A;
  /** Contents of an input; default: seeded noise for floats, zeros for integers. */
  readonly fill?: Readonly<Record<number, (index: number) => number>>;
  /** Inputs to check gradients of; default: all f32 inputs if the op has a gradient. */
  readonly gradientOf?: readonly number[];
  /** Device against interpreter; default 1e-5, 1e-4. */
  readonly tolerance?: { readonly atol: number; readonly rtol: number };
}

export interface Op<A extends Attrs = Attrs> {
  readonly name: string;
  /** Specs of the outputs. Throws ShapeError. */
  infer(inputs: readonly Spec[], attrs: A): readonly Spec[];
  /** The meaning, in plain float64 loops. */
  interpret(call: InterpretCall<A>): void;
  /** Appends the gradient's nodes; a gradient for each input, undefined where it has none or none is needed. Absent: not differentiable. */
  grad?(call: GradCall<A>): readonly (Tensor | undefined)[];
  /** Appends kernel calls. Ops with `alias` have none. */
  lower(call: LowerCall<A>): void;
  /** The output is the same storage as this input under another shape. */
  readonly alias?: number;
  /** The op is a + b of two tensors of one shape. */
  readonly isSum?: boolean;
  /** The op is this function of each element of its only input. */
  mapOf?(attrs: A): UnaryName;
  /** Attributes with which the op also puts its output through a function; undefined if these cannot. */
  absorbMap?(attrs: A, fn: UnaryName): A | undefined;
  /** Attributes with which the op also adds one more input of its output's shape, given last; undefined if these cannot. */
  absorbAdd?(attrs: A): A | undefined;
  /** The input that may be a stack of tensors (Graph.stack); everywhere else they are refused. */
  readonly takesStack?: number;
  /** Inputs written in place. A node that mutates is kept though nothing reads it. */
  readonly mutates?: readonly number[];
  readonly cases: readonly OpCase<A>[];
}

export function defineOp<A extends Attrs>(op: Op<A>): Op<A> {
  return op;
}
