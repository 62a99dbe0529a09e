/** Softmax over the last dimension. */
import { softmax as softmaxKernel, softmaxGrad as softmaxGradKernel } from "@graft/kernels";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

const dims = (x: Spec) => ({ rows: sizeOf(x.shape) / x.shape.at(-1)!, columns: x.shape.at(-1)! });

export const softmaxOp = defineOp({
  name: "softmax",
  infer: ([x]) => [{ shape: x!.shape, dtype: "f32" }],
  interpret({ inputs: [x], outputs: [y], inputSpecs }) {
    softmaxKernel.reference({ x: x!, y: y! }, dims(inputSpecs[0]!), {});
  },
  grad: ({ outputs: [y], grads: [g] }) => [g!.graph.apply(softmaxGradOp, [y!, g!], {})[0]!],
  lower(call) {
    call.run(softmaxKernel, {}, dims(call.inputs[0]!), { x: call.in(0), y: call.out(0) });
  },
  cases: [
    { name: "matrix", inputs: [f32(5, 13)], attrs: {} },
    { name: "leading dims", inputs: [f32(2, 3, 7)], attrs: {} },
  ],
});

/** Inputs: the softmax, upstream gradient. */
export const softmaxGradOp = defineOp({
  name: "softmax_grad",
  infer: ([y]) => [{ shape: y!.shape, dtype: "f32" }],
  interpret({ inputs: [y, g], outputs: [dx], inputSpecs }) {
    softmaxGradKernel.reference({ y: y!, g: g!, dx: dx! }, dims(inputSpecs[0]!), {});
  },
  lower(call) {
    call.run(softmaxGradKernel, {}, dims(call.inputs[0]!), { y: call.in(0), g: call.in(1), dx: call.out(0) });
  },
  cases: [{ name: "matrix", inputs: [f32(5, 13), f32(5, 13)], attrs: {} }],
});

/** exp(x) / sum of exp(x) over the last dimension. x: [..., columns]. */
export function softmax(x: Tensor): Tensor {
  return x.graph.apply(softmaxOp, [x], {})[0]!;
}
