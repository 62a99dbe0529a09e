/** Rotary position embedding of heads. */
import { rope as ropeKernel, ropeIsWide } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp, type Op } from "../graph/op.ts";
import { f32, i32 } from "../graph/op-case.ts";

interface RopeAttrs extends Record<string, unknown> {
  interleaved: boolean;
  inverse: boolean;
}
function dims(x: Spec, cos: Spec) {
  const [tokens, heads, headDim] = x.shape as [number, number, number];
  return { tokens, heads, headDim, half: cos.shape[1]!, tableRows: cos.shape[0]! };
}

/** Inputs x [tokens, heads, headDim], positions [tokens], cos, sin [table rows, half]. */
export const ropeOp: Op<RopeAttrs> = defineOp<RopeAttrs>({
  name: "rope",
  infer([x, positions, cos, sin]) {
    if (
      x!.shape.length !== 3 ||
      positions!.shape[0] !== x!.shape[0] ||
      2 * cos!.shape[1]! > x!.shape[2]! ||
      cos!.shape[1] !== sin!.shape[1]
    ) {
      throw new ShapeError(
        `rope: x is [${x!.shape}], positions [${positions!.shape}], cos [${cos!.shape}], sin [${sin!.shape}]`,
      );
    }
    return [{ shape: x!.shape, dtype: "f32" }];
  },
  interpret({ inputs: [x, positions, cos, sin], outputs: [y], inputSpecs, attrs }) {
    const buffers = { x: x!, positions: positions!, cos: cos!, sin: sin!, y: y! };
    ropeKernel.reference(buffers as never, dims(inputSpecs[0]!, inputSpecs[2]!), { ...attrs, wide: false });
  },
  grad: ({ inputs: [, positions, cos, sin], grads: [g], attrs }) => [
    g!.graph.apply(ropeOp, [g!, positions!, cos!, sin!], { ...attrs, inverse: !attrs.inverse })[0]!,
  ],
  lower(call) {
    const { interleaved, inverse } = call.attrs;
    const sizes = dims(call.inputs[0]!, call.inputs[2]!);
    const wide = ropeIsWide(sizes.headDim, sizes.half, interleaved);
    call.run(ropeKernel, { interleaved, inverse, wide }, sizes, {
      x: call.in(0),
      positions: call.in(1),
      cos: call.in(2),
      sin: call.in(3),
      y: call.out(0),
    });
  },
  // Tables need not be of one angle for the map to be linear; its gradient is the transpose only where they are.
  cases: [false, true].map((interleaved) => ({
    name: interleaved ? "interleaved" : "half-split",
    inputs: [f32(4, 2, 10), i32(4), f32(6, 4), f32(6, 4)],
    attrs: { interleaved, inverse: false },
    fill: { 1: (i: number) => i + 1, 2: (i: number) => Math.cos(i), 3: (i: number) => Math.sin(i) },
    gradientOf: [0],
  })),
});

/** Rotates the first 2 * half columns of each head by the angles of cos and sin at the token's position. */
export function rope(
  x: Tensor,
  positions: Tensor,
  table: { readonly cos: Tensor; readonly sin: Tensor },
  options: { readonly interleaved?: boolean } = {},
): Tensor {
  const attrs = { interleaved: options.interleaved ?? false, inverse: false };
  return x.graph.apply(ropeOp, [x, positions, table.cos, table.sin], attrs)[0]!;
}
