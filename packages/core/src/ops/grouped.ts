/** Rows with a matrix or a vector of their own out of a stack: batches in which rows have different adapters. Not differentiable: such batches are for inference. */
import { groupedColumnwise, groupedMatmul as groupedMatmulKernel, type UnaryName } from "@graft/kernels";
import { ShapeError, StackError } from "../errors/index.ts";
import { sizeOf, type Spec } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32, i32 } from "../graph/op-case.ts";

interface GroupedMatmulAttrs extends Record<string, unknown> {
  transB: boolean;
  scale: number;
  /** Set by the fusion pass: the function of the product, and whether the last input is added. */
  activation?: UnaryName;
  hasResidual?: boolean;
}

/** Inputs x [rows, k], w [groups, k, n] or [groups, n, k], group [rows] i32, (residual [rows, n]); output [rows, n]. */
export const groupedMatmulOp = defineOp<GroupedMatmulAttrs>({
  name: "grouped_matmul",
  takesStack: 1,
  infer([x, w, group], { transB }) {
    const { rows, n, k } = matmulDims([x!, w!], transB);
    checkRows("grouped_matmul", rows, group!);
    if (w!.shape.length !== 3 || w!.shape[transB ? 2 : 1] !== k)
      throw new ShapeError(`grouped_matmul: x is [${x!.shape}], w [${w!.shape}]`);
    return [{ shape: x!.shape.with(-1, n), dtype: "f32" }];
  },
  interpret({ inputs: [x, w, group, residual], outputs: [y], inputSpecs, attrs }) {
    const { transB, scale, activation = "none", hasResidual = false } = attrs;
    const dims = { ...matmulDims(inputSpecs, transB), scale };
    // Not read where there is none.
    const buffers = { x: x!, w: w!, group: group!, residual: residual ?? y!, y: y! };
    groupedMatmulKernel.reference(buffers, dims, { transB, wide: false, activation, hasResidual });
  },
  absorbAdd: (attrs) => (attrs.hasResidual ? undefined : { ...attrs, hasResidual: true }),
  // A factor is none: it would be rounded with the product's own.
  absorbMap: (attrs, fn) =>
    attrs.hasResidual || attrs.activation || fn === "scale" ? undefined : { ...attrs, activation: fn },
  lower(call) {
    const { transB, scale, activation = "none", hasResidual = false } = call.attrs;
    const dims = { ...matmulDims(call.inputs, transB), scale };
    const buffers = {
      x: call.in(0),
      w: call.in(1),
      group: call.in(2),
      ...(hasResidual ? { residual: call.in(3) } : {}),
      y: call.out(0),
    };
    call.run(groupedMatmulKernel, { transB, wide: transB && dims.k % 4 === 0, activation, hasResidual }, dims, buffers);
  },
  cases: [true, false].flatMap((transB) =>
    [false, true].map((hasResidual) => ({
      name: `${transB ? "wT" : "w"}${hasResidual ? " with tanh and a residual" : ""}`,
      inputs: [f32(5, 8), transB ? f32(3, 6, 8) : f32(3, 8, 6), i32(5), ...(hasResidual ? [f32(5, 6)] : [])],
      attrs: { transB, scale: 0.5, ...(hasResidual ? { activation: "tanh" as const, hasResidual } : {}) },
      fill: { 2: (i: number) => [2, -1, 0, 1, 2][i]! },
    })),
  ),
});

function matmulDims([x, w]: readonly Spec[], transB: boolean) {
  const k = x!.shape.at(-1)!;
  return { rows: sizeOf(x!.shape) / k, n: w!.shape[transB ? 1 : 2]!, k, groups: w!.shape[0]! };
}

/** Inputs x [rows, columns], v [groups, columns], group [rows] i32. */
export const groupedColumnwiseOp = defineOp<{ fn: "add" | "mul" }>({
  name: "grouped_columnwise",
  takesStack: 1,
  infer([x, v, group]) {
    const { rows, columns, groups } = columnDims([x!, v!]);
    checkRows("grouped_columnwise", rows, group!);
    if (sizeOf(v!.shape) !== groups * columns)
      throw new ShapeError(`grouped_columnwise: x is [${x!.shape}], v [${v!.shape}]`);
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x, v, group], outputs: [y], inputSpecs, attrs }) {
    groupedColumnwise.reference({ x: x!, v: v!, group: group!, y: y! }, columnDims(inputSpecs), attrs);
  },
  lower(call) {
    const buffers = { x: call.in(0), v: call.in(1), group: call.in(2), y: call.out(0) };
    call.run(groupedColumnwise, { fn: call.attrs.fn }, columnDims(call.inputs), buffers);
  },
  cases: (["add", "mul"] as const).map((fn) => ({
    name: fn,
    inputs: [f32(4, 5), f32(2, 5), i32(4)],
    attrs: { fn },
    fill: { 2: (i: number) => [1, -1, 0, 1][i]! },
  })),
});

/** The rows of a pass have groups; other rows, such as those of the output layer, have none. */
function checkRows(op: string, rows: number, group: Spec): void {
  if (group.shape[0] !== rows) throw new StackError(`${op}: x has ${rows} rows, groups are given of ${group.shape[0]}`);
}

function columnDims([x, v]: readonly Spec[]) {
  const columns = x!.shape.at(-1)!;
  return { rows: sizeOf(x!.shape) / columns, columns, groups: v!.shape[0]! };
}
