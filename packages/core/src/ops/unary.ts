/** Activations and scaling: y = f(x). */
import {
  type BinaryName,
  binaryFunctions,
  isWide,
  unary as unaryKernel,
  type UnaryName,
  unaryFunctions,
} from "@graft/kernels";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { runBinary } from "./_elementwise.ts";

/** Kernel function that gives the gradient from (upstream gradient, x). */
const gradients = {
  silu: "silu_grad",
  relu: "relu_grad",
  tanh: "tanh_grad",
  gelu: "gelu_grad",
  gelu_tanh: "gelu_tanh_grad",
  sigmoid: "sigmoid_grad",
  leaky_relu: "leaky_relu_grad",
  quick_gelu: "quick_gelu_grad",
} as const satisfies Record<string, BinaryName>;
export type ActivationName = keyof typeof gradients;

export const unaryOp = defineOp<{ fn: UnaryName; scale: number }>({
  name: "unary",
  mapOf: ({ fn }) => fn,
  infer: ([x]) => [{ shape: x!.shape, dtype: "f32" }],
  interpret({ inputs: [x], outputs: [y], attrs: { fn, scale } }) {
    for (let i = 0; i < y!.length; i++) y![i] = unaryFunctions[fn].f(x![i]!, scale);
  },
  grad({ inputs: [x], grads: [g], attrs: { fn, scale: factor } }) {
    return [fn === "scale" ? scale(g!, factor) : g!.graph.apply(activationGradOp, [g!, x!], { fn: gradients[fn] })[0]!];
  },
  lower(call) {
    const { fn, scale: factor } = call.attrs;
    const count = sizeOf(call.outputs[0]!.shape);
    call.run(unaryKernel, { fn, wide: isWide(count) }, { count, scale: factor }, { x: call.in(0), y: call.out(0) });
  },
  cases: (Object.keys(unaryFunctions) as UnaryName[]).map((fn) => ({
    name: fn,
    inputs: [f32(3, 23)],
    attrs: { fn, scale: -0.7 },
    // No value near 0, where relu has no gradient.
    fill: { 0: (i: number) => ((i * 37) % 67) / 12 - 2.8 },
  })),
});

/** Inputs: upstream gradient, x. */
export const activationGradOp = defineOp<{ fn: BinaryName }>({
  name: "activation_grad",
  infer: ([g]) => [{ shape: g!.shape, dtype: "f32" }],
  interpret({ inputs: [g, x], outputs: [y], attrs: { fn } }) {
    for (let i = 0; i < y!.length; i++) y![i] = binaryFunctions[fn].f(g![i]!, x![i]!);
  },
  lower: (call) => runBinary(call, call.attrs.fn),
  cases: Object.values(gradients).map((fn) => ({ name: fn, inputs: [f32(70), f32(70)], attrs: { fn } })),
});

/** f of every element: gelu is the exact one (erf), leaky_relu has slope 0.01 below 0, quick_gelu is x sigmoid(1.702 x). */
export function activation(fn: ActivationName, x: Tensor): Tensor {
  return x.graph.apply(unaryOp, [x], { fn, scale: 1 })[0]!;
}

/** factor * x. */
export function scale(x: Tensor, factor: number): Tensor {
  return factor === 1 ? x : x.graph.apply(unaryOp, [x], { fn: "scale", scale: factor })[0]!;
}
