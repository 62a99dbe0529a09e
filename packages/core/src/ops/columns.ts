/** Row vectors against matrices: bias and learned scales. */
import { columnwise, sumRows } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Spec, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { groupedColumnwiseOp } from "./grouped.ts";
import { mul } from "./mul.ts";

export const columnwiseOp = defineOp<{ fn: "add" | "mul" }>({
  name: "columnwise",
  infer([x, v], { fn }) {
    if (x!.shape.at(-1) !== sizeOf(v!.shape))
      throw new ShapeError(`columnwise ${fn}: x is [${x!.shape}], the row vector [${v!.shape}]`);
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x, v], outputs: [y], attrs: { fn } }) {
    for (let i = 0; i < y!.length; i++)
      y![i] = fn === "add" ? x![i]! + v![i % v!.length]! : x![i]! * v![i % v!.length]!;
  },
  grad({ inputs: [x, v], grads: [g], needs, attrs: { fn } }) {
    if (fn === "add") return [g, needs[1] ? sumOfRows(g!, v!) : undefined];
    return [needs[0] ? mulColumns(g!, v!) : undefined, needs[1] ? sumOfRows(mul(g!, x!), v!) : undefined];
  },
  lower(call) {
    const count = sizeOf(call.outputs[0]!.shape);
    const columns = sizeOf(call.inputs[1]!.shape);
    call.run(columnwise, { fn: call.attrs.fn }, { count, columns }, { x: call.in(0), v: call.in(1), y: call.out(0) });
  },
  cases: (["add", "mul"] as const).map((fn) => ({ name: fn, inputs: [f32(2, 3, 5), f32(5)], attrs: { fn } })),
});

export const sumRowsOp = defineOp<{ shape: readonly number[] }>({
  name: "sum_rows",
  infer: (_, { shape }) => [{ shape, dtype: "f32" }],
  interpret({ inputs: [x], outputs: [y] }) {
    for (let i = 0; i < x!.length; i++) y![i % y!.length]! += x![i]!;
  },
  lower(call) {
    const columns = sizeOf(call.outputs[0]!.shape);
    call.run(
      sumRows,
      {},
      { rows: sizeOf(call.inputs[0]!.shape) / columns, columns },
      { x: call.in(0), y: call.out(0) },
    );
  },
  cases: [{ name: "matrix", inputs: [f32(9, 5)], attrs: { shape: [5] } }],
});

/** x + v in every row. x: [..., columns]; v: [columns], or a stack: each row has its own. */
export function addColumns(x: Tensor, v: Tensor): Tensor {
  return columnwiseOf("add", x, v);
}

/** x * v in every row. x: [..., columns]; v: [columns], or a stack: each row has its own. */
export function mulColumns(x: Tensor, v: Tensor): Tensor {
  return columnwiseOf("mul", x, v);
}

function columnwiseOf(fn: "add" | "mul", x: Tensor, v: Tensor): Tensor {
  const stack = x.graph.stackOf(v);
  return stack
    ? x.graph.apply(groupedColumnwiseOp, [x, stack.whole, stack.group], { fn })[0]!
    : x.graph.apply(columnwiseOp, [x, v], { fn })[0]!;
}

function sumOfRows(x: Tensor, like: Spec): Tensor {
  return x.graph.apply(sumRowsOp, [x], { shape: like.shape })[0]!;
}
