/** Building a changed copy of a graph. */
import type { Graph, Tensor } from "./graph.ts";

/**
 * The copy of a value: what `made` says, or a new input, param or constant like the old one. Throws if a computed value was not copied yet.
 */
export function copyExternal(from: Graph, t: Tensor, to: Graph, made: Map<number, Tensor>): Tensor {
  const known = made.get(t.id);
  if (known) return known;
  const origin = from.originOf(t);
  if (origin.kind === "node") throw new Error(`value ${t.id} of ${origin.node.op.name} is read before it is made`);
  const copy =
    origin.kind === "constant"
      ? to.constant(origin.name, t.shape, origin.data)
      : origin.kind === "input"
        ? to.input(origin.name, t.shape, t.dtype)
        : to.param(origin.name, t.shape, t.dtype);
  made.set(t.id, copy);
  return copy;
}
