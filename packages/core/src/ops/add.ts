/** Elementwise sum of two tensors of one shape. */
import { ShapeError } from "../errors/index.ts";
import { sameShape, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { runBinary } from "./_elementwise.ts";

export const addOp = defineOp({
  name: "add",
  isSum: true,
  infer([a, b]) {
    if (!sameShape(a!.shape, b!.shape)) throw new ShapeError(`add: shapes differ, [${a!.shape}] and [${b!.shape}]`);
    return [{ shape: a!.shape, dtype: a!.dtype }];
  },
  interpret({ inputs: [a, b], outputs: [y] }) {
    for (let i = 0; i < y!.length; i++) y![i] = a![i]! + b![i]!;
  },
  grad: ({ grads: [g] }) => [g, g],
  lower: (call) => runBinary(call, "add"),
  cases: [
    { name: "vector", inputs: [f32(5), f32(5)], attrs: {} },
    { name: "matrix", inputs: [f32(7, 33), f32(7, 33)], attrs: {} },
  ],
});

/** a + b, shapes equal. */
export function add(a: Tensor, b: Tensor): Tensor {
  return a.graph.apply(addOp, [a, b], {})[0]!;
}
