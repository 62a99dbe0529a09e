/** Transposition, and row norms of a weight with a change added (DoRA's magnitude). */
import { inverseRowNormKernel, transposeKernel, type WeightType } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sameShape, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32, quantized } from "../graph/op-case.ts";
import { weightBuffers } from "./_weight.ts";

const sizes = (x: Spec) => ({ rows: x.shape[0]!, columns: x.shape[1]! });

export const transposeOp = defineOp({
  name: "transpose",
  infer([x]) {
    if (x!.shape.length !== 2) throw new ShapeError(`transpose: needs 2 dimensions, x is [${x!.shape}]`);
    return [{ shape: x!.shape.toReversed(), dtype: "f32" }];
  },
  interpret({ inputs: [x], outputs: [y], inputSpecs }) {
    transposeKernel.reference({ x: x!, y: y! }, sizes(inputSpecs[0]!), {});
  },
  grad: ({ grads: [g] }) => [transpose(g!)],
  lower(call) {
    call.run(transposeKernel, {}, sizes(call.inputs[0]!), { x: call.in(0), y: call.out(0) });
  },
  cases: [{ name: "matrix", inputs: [f32(3, 7)], attrs: {} }],
});

/** Inputs w, change [rows, columns]; output [rows]. Has no gradient on purpose: DoRA treats the norm as a constant. */
export const inverseRowNormOp = defineOp({
  name: "inverse_row_norm",
  infer([w, change]) {
    if (!sameShape(w!.shape, change!.shape))
      throw new ShapeError(`inverse_row_norm: w is [${w!.shape}], change [${change!.shape}]`);
    return [{ shape: [w!.shape[0]!], dtype: "f32" }];
  },
  interpret({ inputs: [w, change], outputs: [y], inputSpecs }) {
    const { rows, columns } = sizes(inputSpecs[0]!);
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let i = r * columns; i < (r + 1) * columns; i++) sum += (w![i]! + change![i]!) ** 2;
      y![r] = 1 / Math.sqrt(sum);
    }
  },
  grad: () => [],
  lower(call) {
    const type = call.inputs[0]!.dtype as WeightType;
    call.run(inverseRowNormKernel, { type }, sizes(call.inputs[0]!), {
      ...weightBuffers(call, 0, "w"),
      change: call.in(1),
      y: call.out(0),
    });
  },
  cases: [
    { name: "matrix", inputs: [f32(4, 9), f32(4, 9)], attrs: {}, gradientOf: [] },
    ...(["int8", "nf4"] as const).map((dtype) => ({
      name: dtype,
      inputs: [quantized(dtype, 4, 9), f32(4, 9)],
      attrs: {},
      gradientOf: [],
    })),
  ],
});

/** x^T. x: [rows, columns]. */
export function transpose(x: Tensor): Tensor {
  return x.graph.apply(transposeOp, [x], {})[0]!;
}

/** 1 / |w + change| for each row, a constant to the gradient. w, change: [rows, columns]; result [rows]. */
export function inverseRowNorm(w: Tensor, change: Tensor): Tensor {
  return w.graph.apply(inverseRowNormOp, [w, change], {})[0]!;
}
