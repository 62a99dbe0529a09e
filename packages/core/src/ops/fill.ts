/** A constant tensor. */
import { fillKernel } from "@graft/kernels";
import { type Graph, sizeOf, type Tensor } from "../graph/graph.ts";
import { defineOp } from "../graph/op.ts";

export const fillOp = defineOp<{ shape: readonly number[]; value: number }>({
  name: "fill",
  infer: (_, { shape }) => [{ shape, dtype: "f32" }],
  interpret({ outputs: [y], attrs: { value } }) {
    y!.fill(value);
  },
  grad: () => [],
  lower(call) {
    call.run(fillKernel, {}, { count: sizeOf(call.attrs.shape), value: call.attrs.value }, { y: call.out(0) });
  },
  cases: [{ name: "vector", inputs: [], attrs: { shape: [70], value: -0.5 } }],
});

/** A tensor whose every element is `value`. */
export function fill(graph: Graph, shape: readonly number[], value: number): Tensor {
  return graph.apply(fillOp, [], { shape, value })[0]!;
}
