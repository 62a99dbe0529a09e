/** Elementwise product of two tensors of one shape, and LLaMA's gate. */
import { isWide, swigluGrad } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sameShape, sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { runBinary } from "./_elementwise.ts";

function same(name: string, [a, b]: readonly Spec[]): readonly Spec[] {
  if (!sameShape(a!.shape, b!.shape)) throw new ShapeError(`${name}: shapes differ, [${a!.shape}] and [${b!.shape}]`);
  return [{ shape: a!.shape, dtype: "f32" }];
}

export const mulOp = defineOp({
  name: "mul",
  infer: (inputs) => same("mul", inputs),
  interpret({ inputs: [a, b], outputs: [y] }) {
    for (let i = 0; i < y!.length; i++) y![i] = a![i]! * b![i]!;
  },
  grad: ({ inputs: [a, b], grads: [g], needs }) => [
    needs[0] ? mul(g!, b!) : undefined,
    needs[1] ? mul(g!, a!) : undefined,
  ],
  lower: (call) => runBinary(call, "mul"),
  cases: [{ name: "matrix", inputs: [f32(7, 11), f32(7, 11)], attrs: {} }],
});

export const swigluOp = defineOp({
  name: "swiglu",
  infer: (inputs) => same("swiglu", inputs),
  interpret({ inputs: [gate, up], outputs: [y] }) {
    for (let i = 0; i < y!.length; i++) y![i] = (gate![i]! / (1 + Math.exp(-gate![i]!))) * up![i]!;
  },
  grad: ({ inputs: [gate, up], grads: [g] }) => g!.graph.apply(swigluGradOp, [g!, gate!, up!], {}),
  lower: (call) => runBinary(call, "swiglu"),
  cases: [{ name: "matrix", inputs: [f32(5, 13), f32(5, 13)], attrs: {} }],
});

/** Inputs: upstream gradient, gate, up. Outputs: the gradients of gate and up. */
export const swigluGradOp = defineOp({
  name: "swiglu_grad",
  infer: ([, gate, up]) => [
    { shape: gate!.shape, dtype: "f32" },
    { shape: up!.shape, dtype: "f32" },
  ],
  interpret({ inputs: [g, gate, up], outputs: [dgate, dup] }) {
    swigluGrad.reference(
      { g: g!, gate: gate!, up: up!, dgate: dgate!, dup: dup! },
      { count: g!.length },
      { wide: false },
    );
  },
  lower(call) {
    const count = sizeOf(call.outputs[0]!.shape);
    const buffers = { g: call.in(0), gate: call.in(1), up: call.in(2), dgate: call.out(0), dup: call.out(1) };
    call.run(swigluGrad, { wide: isWide(count) }, { count }, buffers);
  },
  cases: [{ name: "matrix", inputs: [f32(5, 13), f32(5, 13), f32(5, 13)], attrs: {} }],
});

/** a * b, shapes equal. */
export function mul(a: Tensor, b: Tensor): Tensor {
  return a.graph.apply(mulOp, [a, b], {})[0]!;
}

/** silu(gate) * up, shapes equal (Shazeer 2020, arXiv:2002.05202, eq. 6). */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return gate.graph.apply(swigluOp, [gate, up], {})[0]!;
}
