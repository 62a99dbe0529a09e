/** Exchange of two neighbouring axes: what a Kronecker product needs beside a matrix product. */
import { swapAxesKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp, type Op } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

interface SwapAttrs extends Record<string, unknown> {
  /** The first of the two. */
  axis: number;
}

export const swapAxesOp: Op<SwapAttrs> = defineOp<SwapAttrs>({
  name: "swap_axes",
  infer([x], { axis }) {
    if (axis < 0 || axis + 1 >= x!.shape.length)
      throw new ShapeError(`swap_axes: x is [${x!.shape}], there are no axes ${axis} and ${axis + 1}`);
    const shape = x!.shape.with(axis, x!.shape[axis + 1]!).with(axis + 1, x!.shape[axis]!);
    return [{ shape, dtype: "f32" }];
  },
  interpret({ inputs: [x], outputs: [y], inputSpecs: [spec], attrs }) {
    swapAxesKernel.reference({ x: x!, y: y! }, dimsOf(spec!, attrs), {});
  },
  grad: ({ grads: [g], attrs: { axis } }) => [swapAxes(g!, axis)],
  lower(call) {
    call.run(swapAxesKernel, {}, dimsOf(call.inputs[0]!, call.attrs), { x: call.in(0), y: call.out(0) });
  },
  cases: [
    { name: "middle axes", inputs: [f32(2, 3, 5, 4)], attrs: { axis: 1 } },
    { name: "last axes", inputs: [f32(2, 3, 5)], attrs: { axis: 1 } },
  ],
});

function dimsOf({ shape }: Spec, { axis }: SwapAttrs) {
  return {
    outer: sizeOf(shape.slice(0, axis)),
    first: shape[axis]!,
    second: shape[axis + 1]!,
    inner: sizeOf(shape.slice(axis + 2)),
  };
}

/** y[.., b, a, ..] = x[.., a, b, ..] with a at `axis`. Throws ShapeError if there is no axis after it. */
export function swapAxes(x: Tensor, axis: number): Tensor {
  return x.graph.apply(swapAxesOp, [x], { axis })[0]!;
}
