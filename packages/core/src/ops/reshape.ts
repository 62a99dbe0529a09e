/** The same values under another shape: no work, no memory. */
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

export const reshapeOp = defineOp<{ shape: readonly number[] }>({
  name: "reshape",
  infer([x], { shape }) {
    if (sizeOf(x!.shape) !== sizeOf(shape))
      throw new ShapeError(`reshape: [${x!.shape}] has other elements than [${shape}]`);
    return [{ shape, dtype: x!.dtype }];
  },
  interpret() {},
  grad: ({ inputs: [x], grads: [g] }) => [reshape(g!, x!.shape)],
  lower() {},
  alias: 0,
  cases: [{ name: "split", inputs: [f32(6, 4)], attrs: { shape: [6, 2, 2] } }],
});

export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  return x.graph.apply(reshapeOp, [x], { shape })[0]!;
}
