/** Products of two small tensors over any of their dimensions. */
import { einsum as einsumKernel, einsumDims, parseEinsum } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import type { Spec, Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";

interface EinsumAttrs extends Record<string, unknown> {
  spec: string;
}

/** Size of each letter. Throws ShapeError if the inputs do not have the dimensions of the spec. */
function letterSizes(spec: string, inputs: readonly Spec[]): (letter: string) => number {
  const { a, b } = parseEinsum(spec);
  const sizes = new Map<string, number>();
  for (const [i, term] of [a, b].entries()) {
    const { shape } = inputs[i]!;
    const fits =
      shape.length === term.length && shape.every((n, d) => (sizes.get(term[d]!) ?? n) === n && sizes.set(term[d]!, n));
    if (!fits) throw new ShapeError(`einsum ${spec}: inputs are [${inputs[0]!.shape}] and [${inputs[1]!.shape}]`);
  }
  return (letter) => sizes.get(letter)!;
}

export const einsumOp = defineOp<EinsumAttrs>({
  name: "einsum",
  infer(inputs, { spec }) {
    const size = letterSizes(spec, inputs);
    return [{ shape: [...parseEinsum(spec).y].map(size), dtype: "f32" }];
  },
  interpret({ inputs: [a, b], outputs: [y], inputSpecs, attrs: { spec } }) {
    const dims = einsumDims(parseEinsum(spec), letterSizes(spec, inputSpecs));
    einsumKernel.reference({ a: a!, b: b!, y: y! }, dims, { spec });
  },
  grad({ inputs: [a, b], grads: [g], needs, attrs: { spec } }) {
    const { a: ofA, b: ofB, y } = parseEinsum(spec);
    return [
      needs[0] ? einsum(`${y},${ofB}->${ofA}`, g!, b!) : undefined,
      needs[1] ? einsum(`${ofA},${y}->${ofB}`, a!, g!) : undefined,
    ];
  },
  lower(call) {
    const { spec } = call.attrs;
    const dims = einsumDims(parseEinsum(spec), letterSizes(spec, call.inputs));
    call.run(einsumKernel, { spec }, dims, { a: call.in(0), b: call.in(1), y: call.out(0) });
  },
  cases: [
    { name: "batched", inputs: [f32(3, 2, 4), f32(3, 4, 5)], attrs: { spec: "bmk,bkn->bmn" } },
    { name: "block-diagonal", inputs: [f32(5, 3, 4), f32(3, 4, 4)], attrs: { spec: "tki,kij->tkj" } },
    { name: "over the middle", inputs: [f32(4, 3, 2), f32(5, 3)], attrs: { spec: "tab,ia->tib" } },
    { name: "outer", inputs: [f32(3, 2), f32(4, 5)], attrs: { spec: "ia,jb->ijab" } },
    { name: "two sums", inputs: [f32(3, 2, 2, 3, 2), f32(2, 3, 2, 2, 2, 2)], attrs: { spec: "tchsr,cshrwq->tcwsq" } },
  ],
});

/**
 * Sum of a b over the letters that the output has not, as "tki,kij->tkj": one letter for each dimension, each in two or three of the terms. One thread computes one
 * element, so it is for factors that are small; a large product is `matmul`'s. Throws ShapeError if the inputs do not have those dimensions.
 */
export function einsum(spec: string, a: Tensor, b: Tensor): Tensor {
  return a.graph.apply(einsumOp, [a, b], { spec })[0]!;
}
