/** A part of a tensor along one dimension. */
import { isWide, windowKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp, type Op } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

interface WindowAttrs extends Record<string, unknown> {
  axis: number;
  /** Elements of x that are left out at its beginning. */
  skip: number;
  /** Zeros before what is taken of x. */
  lead: number;
  /** Length of the output along `axis`. */
  length: number;
}

/** y[.., a, ..] = x[.., a + skip - lead, ..], 0 outside x. */
export const windowOp: Op<WindowAttrs> = defineOp<WindowAttrs>({
  name: "window",
  infer([x], { axis, length }) {
    if (axis < 0 || axis >= x!.shape.length)
      throw new ShapeError(`window: x is [${x!.shape}], there is no axis ${axis}`);
    return [{ shape: x!.shape.with(axis, length), dtype: "f32" }];
  },
  interpret({ inputs: [x], outputs: [y], inputSpecs: [spec], attrs }) {
    windowKernel.reference({ x: x!, y: y! }, dimsOf(spec!, attrs), { wide: false });
  },
  // The transpose of a window: what was skipped becomes zeros and the other way round.
  grad: ({ inputs: [x], grads: [g], attrs: { axis, skip, lead } }) => [
    g!.graph.apply(windowOp, [g!], { axis, skip: lead, lead: skip, length: x!.shape[axis]! })[0]!,
  ],
  lower(call) {
    const dims = dimsOf(call.inputs[0]!, call.attrs);
    call.run(windowKernel, { wide: isWide(dims.inner) }, dims, { x: call.in(0), y: call.out(0) });
  },
  cases: [
    { name: "middle axis", inputs: [f32(3, 7, 4)], attrs: { axis: 1, skip: 2, lead: 0, length: 4 } },
    { name: "columns, zeros before and after", inputs: [f32(5, 4)], attrs: { axis: 1, skip: 0, lead: 1, length: 7 } },
  ],
});

function dimsOf({ shape }: Spec, { axis, skip, lead, length }: WindowAttrs) {
  const [outer, inner] = [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis + 1))];
  return { outer, columns: shape[axis]!, length, inner, skip, lead };
}

/** x at `begin` of `length` places along `axis`, zeros elsewhere: what slice undoes. Throws ShapeError if it does not fit. */
export function place(x: Tensor, axis: number, begin: number, length: number): Tensor {
  if (begin < 0 || begin + (x.shape[axis] ?? 0) > length)
    throw new ShapeError(`place: [${x.shape}] at ${begin} does not fit into ${length} places of axis ${axis}`);
  return x.graph.apply(windowOp, [x], { axis, skip: 0, lead: begin, length })[0]!;
}

/** x[.., begin .. begin + length, ..] along `axis`. Throws ShapeError if that is not inside x. */
export function slice(x: Tensor, axis: number, begin: number, length: number): Tensor {
  if (begin < 0 || length < 1 || begin + length > (x.shape[axis] ?? 0))
    throw new ShapeError(`slice: ${begin} to ${begin + length} is not inside axis ${axis} of [${x.shape}]`);
  return x.graph.apply(windowOp, [x], { axis, skip: begin, lead: 0, length })[0]!;
}
