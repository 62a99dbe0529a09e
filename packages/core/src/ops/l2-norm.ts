/** The L2 (Frobenius) norm of a whole tensor. */
import { l2Norm as l2NormKernel, l2NormGrad } from "@graft/kernels";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

export const l2NormOp = defineOp({
  name: "l2_norm",
  infer: () => [{ shape: [1], dtype: "f32" }],
  interpret({ inputs: [x], outputs: [y] }) {
    l2NormKernel.reference({ x: x!, y: y! }, { count: x!.length }, {});
  },
  grad: ({ inputs: [x], outputs: [norm], grads: [g] }) => [x!.graph.apply(l2NormGradOp, [g!, x!, norm!], {})[0]!],
  lower(call) {
    call.run(l2NormKernel, {}, { count: sizeOf(call.inputs[0]!.shape) }, { x: call.in(0), y: call.out(0) });
  },
  cases: [{ name: "matrix", inputs: [f32(5, 7)], attrs: {} }],
});

/** Inputs: upstream gradient, x, its norm. */
export const l2NormGradOp = defineOp({
  name: "l2_norm_grad",
  infer: ([, x]) => [{ shape: x!.shape, dtype: "f32" }],
  interpret({ inputs: [g, x, norm], outputs: [dx] }) {
    l2NormGrad.reference({ g: g!, x: x!, norm: norm!, dx: dx! }, { count: x!.length }, {});
  },
  lower(call) {
    const buffers = { g: call.in(0), x: call.in(1), norm: call.in(2), dx: call.out(0) };
    call.run(l2NormGrad, {}, { count: sizeOf(call.inputs[1]!.shape) }, buffers);
  },
  cases: [{ name: "matrix", inputs: [f32(1), f32(5, 7), f32(1)], attrs: {}, fill: { 2: () => 2.5 } }],
});

/** sqrt(sum of x^2), a scalar [1]; its gradient at zero is zero. */
export function l2Norm(x: Tensor): Tensor {
  return x.graph.apply(l2NormOp, [x], {})[0]!;
}
