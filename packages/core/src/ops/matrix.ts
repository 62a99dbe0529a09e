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

/** Inputs w, change [rows, columns], or [columns, rows]; output [rows]. Has no gradient on purpose: DoRA treats the norm as a constant. */
export const inverseRowNormOp = defineOp<{ isTransposed: boolean }>({
  name: "inverse_row_norm",
  infer([w, change], { isTransposed }) {
    if (!sameShape(w!.shape, change!.shape))
      throw new ShapeError(`inverse_row_norm: w is [${w!.shape}], change [${change!.shape}]`);
    return [{ shape: [w!.shape[isTransposed ? 1 : 0]!], dtype: "f32" }];
  },
  interpret({ inputs: [w, change], outputs: [y], inputSpecs, attrs: { isTransposed } }) {
    const { rows, columns } = normSizes(inputSpecs[0]!, isTransposed);
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < columns; c++) {
        const at = isTransposed ? c * rows + r : r * columns + c;
        sum += (w![at]! + change![at]!) ** 2;
      }
      y![r] = 1 / Math.sqrt(sum);
    }
  },
  grad: () => [],
  lower(call) {
    const type = call.inputs[0]!.dtype as WeightType;
    const { isTransposed } = call.attrs;
    call.run(inverseRowNormKernel, { type, isTransposed }, normSizes(call.inputs[0]!, isTransposed), {
      ...weightBuffers(call, 0, "w"),
      change: call.in(1),
      y: call.out(0),
    });
  },
  cases: [
    ...[false, true].map((isTransposed) => ({
      name: isTransposed ? "transposed" : "matrix",
      inputs: [f32(4, 9), f32(4, 9)],
      attrs: { isTransposed },
      gradientOf: [],
    })),
    ...(
      [
        ["int8", false],
        ["nf4", false],
        ["int8_columns", true],
        ["nf4", true],
      ] as const
    ).map(([dtype, isTransposed]) => ({
      name: `${dtype}${isTransposed ? ", transposed" : ""}`,
      inputs: [quantized(dtype, 4, 9), f32(4, 9)],
      attrs: { isTransposed },
      gradientOf: [],
    })),
  ],
});

function normSizes(w: Spec, isTransposed: boolean): { rows: number; columns: number } {
  const { rows, columns } = sizes(w);
  return isTransposed ? { rows: columns, columns: rows } : { rows, columns };
}

/** x^T. x: [rows, columns]. */
export function transpose(x: Tensor): Tensor {
  return x.graph.apply(transposeOp, [x], {})[0]!;
}

/** 1 / |w + change| for each row, a constant to the gradient. w, change: [rows, columns], or both [columns, rows] where they are transposed; result [rows]. */
export function inverseRowNorm(w: Tensor, change: Tensor, isTransposed = false): Tensor {
  return w.graph.apply(inverseRowNormOp, [w, change], { isTransposed })[0]!;
}
