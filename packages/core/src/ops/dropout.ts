/** Dropout with a counter-based mask: the backward pass makes the same mask again from the same seed. */
import { dropout as dropoutKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp, type Op } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

interface DropoutAttrs extends Record<string, unknown> {
  p: number;
  /** Tells dropout layers of one model apart. */
  stream: number;
}

/** Inputs x, seed [2] u32 = (seed, step). Linear in x, so the gradient is the same op. */
export const dropoutOp: Op<DropoutAttrs> = defineOp<DropoutAttrs>({
  name: "dropout",
  infer([x], { p }) {
    if (!(p >= 0 && p < 1)) throw new ShapeError(`dropout: p must be in [0, 1), is ${p}`);
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x, seed], outputs: [y], attrs: { p, stream } }) {
    dropoutKernel.reference({ x: x!, seed: seed!, y: y! }, { count: y!.length, stream, p }, {});
  },
  grad: ({ inputs: [, seed], grads: [g], attrs }) => [g!.graph.apply(dropoutOp, [g!, seed!], attrs)[0]!],
  lower(call) {
    const { p, stream } = call.attrs;
    const buffers = { x: call.in(0), seed: call.in(1), y: call.out(0) };
    call.run(dropoutKernel, {}, { count: sizeOf(call.outputs[0]!.shape), stream, p }, buffers);
  },
  cases: [
    {
      name: "p 0.25",
      inputs: [f32(9, 11), { shape: [2], dtype: "u32" }],
      attrs: { p: 0.25, stream: 5 },
      fill: { 1: (i) => i + 3 },
      gradientOf: [0],
    },
  ],
});

/** x / (1 - p) with probability 1 - p, else 0. seed: [2] u32 = (seed, step). */
export function dropout(x: Tensor, seed: Tensor, attrs: DropoutAttrs): Tensor {
  return attrs.p === 0 ? x : x.graph.apply(dropoutOp, [x, seed], attrs)[0]!;
}
