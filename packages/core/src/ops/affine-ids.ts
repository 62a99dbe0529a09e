/** Integers under y = scale x + offset: virtual ids to rows of their table, positions that do not begin at 0. */
import { affineIds as affineIdsKernel } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { i32 } from "../graph/op-case.ts";

interface AffineIdsAttrs extends Record<string, unknown> {
  scale: 1 | -1;
  offset: number;
}

export const affineIdsOp = defineOp<AffineIdsAttrs>({
  name: "affine_ids",
  infer([x], { offset }) {
    if (x!.dtype !== "i32" || !Number.isInteger(offset))
      throw new ShapeError(`affine_ids: ids are ${x!.dtype} and must be i32, the offset is ${offset}`);
    return [{ shape: x!.shape, dtype: "i32" }];
  },
  interpret({ inputs: [x], outputs: [y], attrs: { scale, offset } }) {
    for (let i = 0; i < y!.length; i++) y![i] = scale * x![i]! + offset;
  },
  lower(call) {
    const { scale, offset } = call.attrs;
    // Dims are unsigned; the kernel reads the bits back as a signed number.
    const dims = { count: sizeOf(call.outputs[0]!.shape), offset: offset >>> 0 };
    call.run(affineIdsKernel, { scale }, dims, { x: call.in(0), y: call.out(0) });
  },
  cases: [
    { name: "shifted", inputs: [i32(2, 5)], attrs: { scale: 1, offset: 2 }, fill: { 0: (i) => i } },
    { name: "mirrored", inputs: [i32(7)], attrs: { scale: -1, offset: -1 }, fill: { 0: (i) => i - 4 } },
  ],
});

/** scale x + offset. x: i32 of any shape; `offset` is an integer. Has no gradient. */
export function affineIds(x: Tensor, attrs: { readonly scale: 1 | -1; readonly offset: number }): Tensor {
  return x.graph.apply(affineIdsOp, [x], attrs)[0]!;
}
