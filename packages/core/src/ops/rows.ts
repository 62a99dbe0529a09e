/** One factor for each row, and the weighted sum of rows' losses. */
import { rowwise, scaledSum, spread } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

/** y[r, c] = x[r, c] v[r]; no gradient for v. */
export const mulRowsOp = defineOp({
  name: "mul_rows",
  infer([x, v]) {
    if (sizeOf(x!.shape.slice(0, -1)) !== sizeOf(v!.shape))
      throw new ShapeError(`mul_rows: x is [${x!.shape}], v is [${v!.shape}]`);
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x, v], outputs: [y] }) {
    const columns = x!.length / v!.length;
    for (let i = 0; i < y!.length; i++) y![i] = x![i]! * v![Math.floor(i / columns)]!;
  },
  grad({ inputs: [, v], grads: [g], needs }) {
    if (needs[1]) throw new ShapeError("mul_rows: no gradient for the row factors");
    return [mulRows(g!, v!)];
  },
  lower(call) {
    const count = sizeOf(call.outputs[0]!.shape);
    call.run(
      rowwise,
      {},
      { count, columns: call.outputs[0]!.shape.at(-1)! },
      { x: call.in(0), v: call.in(1), y: call.out(0) },
    );
  },
  cases: [{ name: "matrix", inputs: [f32(5, 7), f32(5)], attrs: {}, gradientOf: [0] }],
});

/** y = factor[0] * sum of x; no gradient for factor. */
export const scaledSumOp = defineOp({
  name: "scaled_sum",
  infer: () => [{ shape: [1], dtype: "f32" }],
  interpret({ inputs: [x, factor], outputs: [y] }) {
    y![0] = factor![0]! * x!.reduce((a, b) => a + b, 0);
  },
  grad({ inputs: [x, factor], grads: [g], needs }) {
    if (needs[1]) throw new ShapeError("scaled_sum: no gradient for the factor");
    return [g!.graph.apply(spreadOp, [g!, factor!], { shape: x!.shape })[0]!];
  },
  lower(call) {
    call.run(
      scaledSum,
      {},
      { count: sizeOf(call.inputs[0]!.shape) },
      { x: call.in(0), scale: call.in(1), y: call.out(0) },
    );
  },
  cases: [{ name: "vector", inputs: [f32(33), f32(1)], attrs: {}, gradientOf: [0] }],
});

/** y = a[0] * b[0] everywhere. */
export const spreadOp = defineOp<{ shape: readonly number[] }>({
  name: "spread",
  infer: (_, { shape }) => [{ shape, dtype: "f32" }],
  interpret({ inputs: [a, b], outputs: [y] }) {
    y!.fill(a![0]! * b![0]!);
  },
  lower(call) {
    call.run(spread, {}, { count: sizeOf(call.attrs.shape) }, { a: call.in(0), b: call.in(1), y: call.out(0) });
  },
  cases: [{ name: "vector", inputs: [f32(1), f32(1)], attrs: { shape: [70] } }],
});

/** x[r, c] * v[r]. x: [..., columns]; v: one for each row. */
export function mulRows(x: Tensor, v: Tensor): Tensor {
  return x.graph.apply(mulRowsOp, [x, v], {})[0]!;
}

/** factor * sum of x, a scalar [1]. factor: [1]. */
export function scaledSumOf(x: Tensor, factor: Tensor): Tensor {
  return x.graph.apply(scaledSumOp, [x, factor], {})[0]!;
}
