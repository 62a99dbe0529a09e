/** Rows replaced by rows of a table: the keys and values of virtual tokens. */
import { selectRows as selectRowsKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp, type Op } from "../graph/op.ts";
import { f32, i32 } from "../graph/op-case.ts";
import { embeddingGradOp } from "./embedding.ts";
import { fill } from "./fill.ts";

const dims = (x: Spec, table: Spec) => ({ rows: x.shape[0]!, columns: x.shape[1]!, tableRows: table.shape[0]! });

/** Inputs x [rows, columns], table [tableRows, columns], ids [rows] i32. */
export const selectRowsOp: Op = defineOp({
  name: "select_rows",
  infer([x, table, ids]) {
    const isMatrix = x!.shape.length === 2 && table!.shape.length === 2 && x!.shape[1] === table!.shape[1];
    if (!isMatrix || ids!.dtype !== "i32" || ids!.shape[0] !== x!.shape[0])
      throw new ShapeError(
        `select_rows: x is [${x!.shape}], the table [${table!.shape}], ids [${ids!.shape}] ${ids!.dtype}`,
      );
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x, table, ids], outputs: [y], inputSpecs }) {
    const buffers = { x: x!, table: table!, ids: ids!, y: y! };
    selectRowsKernel.reference(buffers, dims(inputSpecs[0]!, inputSpecs[1]!), {});
  },
  grad({ inputs: [, table, ids], grads: [g], needs }) {
    const [tableRows, columns] = table!.shape as [number, number];
    return [
      needs[0] ? selectRows(g!, fill(g!.graph, [tableRows, columns], 0), ids!) : undefined,
      needs[1] ? g!.graph.apply(embeddingGradOp, [ids!, g!], { rows: tableRows })[0]! : undefined,
    ];
  },
  lower(call) {
    const buffers = { x: call.in(0), table: call.in(1), ids: call.in(2), y: call.out(0) };
    call.run(selectRowsKernel, {}, dims(call.inputs[0]!, call.inputs[1]!), buffers);
  },
  cases: [
    {
      name: "some rows, one of them twice",
      inputs: [f32(7, 5), f32(3, 5), i32(7)],
      attrs: {},
      fill: { 2: (i) => [-2, 0, 1, 0, 5, 2, -1][i]! },
    },
  ],
});

/** table[ids[r]] where that is a row of the table, else x[r]. x: [rows, columns]; table: [tableRows, columns]; ids: [rows] i32. Throws ShapeError. */
export function selectRows(x: Tensor, table: Tensor, ids: Tensor): Tensor {
  return x.graph.apply(selectRowsOp, [x, table, ids], {})[0]!;
}
