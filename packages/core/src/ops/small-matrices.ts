/** Many small square matrices: skew-symmetric ones from what is above the diagonal, inverses, and rows kept inside a ball. */
import {
  inverse as inverseKernel,
  limitRowNorm as limitRowNormKernel,
  skew as skewKernel,
  skewGrad,
} from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { einsum } from "./einsum.ts";
import { scale } from "./unary.ts";

/** Of [count, size, size]. */
const squares = ({ shape }: Spec) => ({ count: shape[0]!, size: shape[1]! });

export const skewOp = defineOp<{ size: number }>({
  name: "skew",
  infer([x], { size }) {
    if (x!.shape.length !== 2 || x!.shape[1] !== (size * (size - 1)) / 2)
      throw new ShapeError(`skew: [${x!.shape}] is not what is above the diagonals of ${size} x ${size} matrices`);
    return [{ shape: [x!.shape[0]!, size, size], dtype: "f32" }];
  },
  interpret({ inputs: [x], outputs: [y], outputSpecs }) {
    skewKernel.reference({ x: x!, y: y! }, squares(outputSpecs[0]!), {});
  },
  grad: ({ grads: [g] }) => [g!.graph.apply(skewGradOp, [g!], {})[0]!],
  lower(call) {
    call.run(skewKernel, {}, squares(call.outputs[0]!), { x: call.in(0), y: call.out(0) });
  },
  cases: [{ name: "3 of 4x4", inputs: [f32(3, 6)], attrs: { size: 4 } }],
});

/** Input [count, size, size], output [count, size (size - 1) / 2]. */
export const skewGradOp = defineOp({
  name: "skew_grad",
  infer: ([y]) => [{ shape: [y!.shape[0]!, (y!.shape[1]! * (y!.shape[1]! - 1)) / 2], dtype: "f32" }],
  interpret({ inputs: [y], outputs: [x], inputSpecs }) {
    skewGrad.reference({ x: x!, y: y! }, squares(inputSpecs[0]!), {});
  },
  lower(call) {
    call.run(skewGrad, {}, squares(call.inputs[0]!), { y: call.in(0), x: call.out(0) });
  },
  cases: [{ name: "3 of 4x4", inputs: [f32(3, 4, 4)], attrs: {} }],
});

export const inverseOp = defineOp({
  name: "inverse",
  infer([x]) {
    if (x!.shape.length !== 3 || x!.shape[1] !== x!.shape[2])
      throw new ShapeError(`inverse: needs [count, size, size], x is [${x!.shape}]`);
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x], outputs: [y], inputSpecs }) {
    inverseKernel.reference({ x: x!, y: y! }, squares(inputSpecs[0]!), {});
  },
  // dX = -Y^T G Y^T
  grad({ outputs: [y], grads: [g] }) {
    const left = einsum("mji,mjk->mik", y!, g!);
    return [scale(einsum("mij,mkj->mik", left, y!), -1)];
  },
  lower(call) {
    call.run(inverseKernel, {}, squares(call.inputs[0]!), { x: call.in(0), y: call.out(0) });
  },
  cases: [
    {
      name: "2 of 3x3",
      inputs: [f32(2, 3, 3)],
      attrs: {},
      fill: { 0: (at) => (at % 9 === 0 || at % 9 === 4 || at % 9 === 8 ? 1.5 : 0.4 * Math.sin(at)) },
    },
  ],
});

/** Passes its gradient on unchanged, as if what it takes away had never been there: so constrained OFT is trained. */
export const limitRowNormOp = defineOp<{ limit: number }>({
  name: "limit_row_norm",
  infer: ([x]) => [{ shape: x!.shape, dtype: "f32" }],
  interpret({ inputs: [x], outputs: [y], inputSpecs, attrs: { limit } }) {
    const [rows, columns] = inputSpecs[0]!.shape as [number, number];
    limitRowNormKernel.reference({ x: x!, y: y! }, { rows, columns, limit }, {});
  },
  grad: ({ grads: [g] }) => [g],
  lower(call) {
    const [rows, columns] = call.inputs[0]!.shape as [number, number];
    const { limit } = call.attrs;
    call.run(limitRowNormKernel, {}, { rows, columns, limit }, { x: call.in(0), y: call.out(0) });
  },
  cases: [{ name: "matrix", inputs: [f32(4, 9)], attrs: { limit: 1.7 }, gradientOf: [] }],
});

/** Skew-symmetric matrices from the rows above their diagonals. x: [count, size (size - 1) / 2]; result [count, size, size]. */
export function skew(x: Tensor, size: number): Tensor {
  return x.graph.apply(skewOp, [x], { size })[0]!;
}

/** x^-1 of each [size, size], whose symmetric part must be positive definite (1 + a skew-symmetric matrix is so). */
export function inverse(x: Tensor): Tensor {
  return x.graph.apply(inverseOp, [x], {})[0]!;
}

/** Rows longer than `limit` cut to that length; the gradient passes unchanged. x: [rows, columns]. */
export function limitRowNorm(x: Tensor, limit: number): Tensor {
  return x.graph.apply(limitRowNormOp, [x], { limit })[0]!;
}
