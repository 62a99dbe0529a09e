/** Row lookup: token embeddings, and picking rows of hidden states. */
import { embedding as embeddingKernel, embeddingGrad, type WeightType } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32, i32, quantized } from "../graph/op-case.ts";
import { weightBuffers } from "./_weight.ts";

export const embeddingOp = defineOp({
  name: "embedding",
  infer([table, ids]) {
    if (table!.shape.length !== 2 || ids!.dtype !== "i32") {
      throw new ShapeError(`embedding: table [${table!.shape}] must have 2 dimensions, ids ${ids!.dtype} must be i32`);
    }
    return [{ shape: [...ids!.shape, table!.shape[1]!], dtype: "f32" }];
  },
  interpret({ inputs: [table, ids], outputs: [y], inputSpecs }) {
    const [rows, columns] = inputSpecs[0]!.shape as [number, number];
    for (let t = 0; t < ids!.length; t++) {
      const row = ids![t]!;
      if (row >= 0 && row < rows) y!.set(table!.subarray(row * columns, (row + 1) * columns), t * columns);
    }
  },
  grad: ({ inputs: [table, ids], grads: [g], needs }) => [
    needs[0] ? g!.graph.apply(embeddingGradOp, [ids!, g!], { rows: table!.shape[0]! })[0]! : undefined,
  ],
  lower(call) {
    const type = call.inputs[0]!.dtype as WeightType;
    const tokens = sizeOf(call.inputs[1]!.shape);
    const columns = call.inputs[0]!.shape[1]!;
    // A packed row of odd length may begin in the middle of a word: parts begin at even rows.
    for (const [i, { ref, begin, end }] of call.parts(0, 2).entries()) {
      const dims = { tokens, columns, rows: end - begin, rowBegin: begin };
      call.run(embeddingKernel, { type, isFirst: i === 0 }, dims, {
        ...weightBuffers(call, 0, "table", ref),
        ids: call.in(1),
        y: call.out(0),
      });
    }
  },
  cases: [
    {
      name: "repeated ids",
      inputs: [f32(5, 7), i32(2, 4)],
      attrs: {},
      fill: { 1: (i) => (i * 3) % 5 },
      gradientOf: [0],
    },
    { name: "int8", inputs: [quantized("int8", 5, 7), i32(6)], attrs: {}, fill: { 1: (i) => i }, gradientOf: [] },
  ],
});

export const embeddingGradOp = defineOp<{ rows: number }>({
  name: "embedding_grad",
  infer: ([, g], { rows }) => [{ shape: [rows, g!.shape.at(-1)!], dtype: "f32" }],
  interpret({ inputs: [ids, g], outputs: [dtable], outputSpecs }) {
    const [rows, columns] = outputSpecs[0]!.shape as [number, number];
    for (let t = 0; t < ids!.length; t++) {
      const row = ids![t]!;
      if (row < 0 || row >= rows) continue;
      for (let c = 0; c < columns; c++) dtable![row * columns + c]! += g![t * columns + c]!;
    }
  },
  lower(call) {
    const [rows, columns] = call.outputs[0]!.shape as [number, number];
    call.run(
      embeddingGrad,
      {},
      { tokens: sizeOf(call.inputs[0]!.shape), columns, rows },
      { ids: call.in(0), g: call.in(1), dtable: call.out(0) },
    );
  },
  cases: [{ name: "repeated ids", inputs: [i32(6), f32(6, 3)], attrs: { rows: 4 }, fill: { 0: (i) => i % 3 } }],
});

/** table[ids]; ids outside the table give zeros. table: [rows, columns]; ids: [...] i32; result [..., columns]. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  return table.graph.apply(embeddingOp, [table, ids], {})[0]!;
}
