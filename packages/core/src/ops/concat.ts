/** Tensors one after the other along one dimension. */
import { isWide, place } from "@graft/kernels";
import { ShapeError } from "../errors/index.ts";
import { sameShape, sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";
import { f32 } from "../graph/op-case.ts";
import { slice } from "./slice.ts";

export const concatOp = defineOp<{ axis: number }>({
  name: "concat",
  infer(inputs, { axis }) {
    const [first] = inputs;
    const rest = (shape: readonly number[]) => shape.with(axis, 0);
    if (!first || axis < 0 || axis >= first.shape.length)
      throw new ShapeError(`concat: the first input is [${first?.shape ?? "missing"}], the axis ${axis}`);
    for (const { shape } of inputs) {
      if (shape.length !== first.shape.length || !sameShape(rest(shape), rest(first.shape)))
        throw new ShapeError(`concat: [${first.shape}] and [${shape}] differ elsewhere than along axis ${axis}`);
    }
    const length = inputs.reduce((sum, { shape }) => sum + shape[axis]!, 0);
    return [{ shape: first.shape.with(axis, length), dtype: "f32" }];
  },
  interpret({ inputs, outputs: [y], inputSpecs, attrs }) {
    for (const [i, dims] of placesOf(inputSpecs, attrs.axis).entries())
      place.reference({ x: inputs[i]!, y: y! }, dims, { wide: false });
  },
  grad({ inputs, grads: [g], needs, attrs: { axis } }) {
    const places = placesOf(inputs, axis);
    return inputs.map((_, i) => (needs[i] ? slice(g!, axis, places[i]!.begin, places[i]!.columns) : undefined));
  },
  lower(call) {
    for (const [i, dims] of placesOf(call.inputs, call.attrs.axis).entries())
      call.run(place, { wide: isWide(dims.inner) }, dims, { x: call.in(i), y: call.out(0) });
  },
  cases: [
    { name: "rows", inputs: [f32(2, 5), f32(1, 5), f32(3, 5)], attrs: { axis: 0 } },
    { name: "columns", inputs: [f32(4, 3), f32(4, 2)], attrs: { axis: 1 } },
    { name: "middle axis", inputs: [f32(2, 3, 4), f32(2, 1, 4)], attrs: { axis: 1 } },
  ],
});

function placesOf(inputs: readonly { readonly shape: readonly number[] }[], axis: number) {
  const { shape } = inputs[0]!;
  const [outer, inner] = [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis + 1))];
  const length = inputs.reduce((sum, input) => sum + input.shape[axis]!, 0);
  let begin = 0;
  return inputs.map((input) => {
    const columns = input.shape[axis]!;
    begin += columns;
    return { outer, columns, length, inner, begin: begin - columns };
  });
}

/** Tensors joined along `axis`; they agree in every other dimension. Throws ShapeError otherwise. */
export function concat(tensors: readonly [Tensor, ...Tensor[]], axis: number): Tensor {
  return tensors[0].graph.apply(concatOp, tensors, { axis })[0]!;
}
