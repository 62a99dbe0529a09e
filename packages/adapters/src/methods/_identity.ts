/** The identity as a tensor of a graph. */
import type { Graph, Tensor } from "@graft/core/graph";

/** `factor` times the identity, [size, size]; of one graph and factor the same tensor each time. */
export function identityConstant(graph: Graph, size: number, factor: number): Tensor {
  const data = Float32Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? factor : 0));
  return graph.constant(`identity ${size} x ${factor}`, [size, size], data);
}
