/** Reverse-mode differentiation: appends the backward graph to the forward one. */
import { ShapeError } from "../errors/index.ts";
import { add } from "../ops/add.ts";
import { fill } from "../ops/fill.ts";
import { type Node, sameShape, sizeOf, type Tensor } from "./graph.ts";

/**
 * Gradients of a scalar `loss` for each tensor of `wrt`, in their order and shapes.
 * Only paths from `wrt` to `loss` are followed: nothing is appended for a frozen weight.
 * A tensor that the loss does not depend on gets zeros. `seed` scales the loss (default 1).
 * Throws ShapeError if the loss is not a scalar or an op on the path has no gradient.
 */
export function grad(loss: Tensor, wrt: readonly Tensor[], seed?: Tensor): Tensor[] {
  const { graph } = loss;
  if (sizeOf(loss.shape) !== 1) throw new ShapeError(`grad: the loss must be a scalar, is [${loss.shape}]`);
  const forward = graph.nodes.slice();
  const needed = reachedFrom(wrt, forward);
  const grads = new Map<number, Tensor>();
  grads.set(loss.id, seed ?? fill(graph, loss.shape, 1));

  for (const node of forward.toReversed()) {
    const outer = node.outputs.map((t) => grads.get(t.id));
    if (outer.every((g) => g === undefined)) continue;
    const needs = node.inputs.map((t) => needed.has(t.id));
    if (!needs.includes(true)) continue;
    if (node.op.alias === undefined && !node.op.grad) {
      throw new ShapeError(`grad: op ${node.op.name} has no gradient`);
    }
    for (const [i, g] of inputGradients(node, outer, needs).entries()) {
      if (g === undefined || !needs[i]) continue;
      const input = node.inputs[i]!;
      if (!sameShape(g.shape, input.shape)) {
        throw new ShapeError(`grad of ${node.op.name}: input ${i} is [${input.shape}], its gradient [${g.shape}]`);
      }
      const known = grads.get(input.id);
      grads.set(input.id, known ? add(known, g) : g);
    }
  }
  return wrt.map((t) => grads.get(t.id) ?? fill(graph, t.shape, 0));
}

function inputGradients(
  node: Node,
  grads: readonly (Tensor | undefined)[],
  needs: readonly boolean[],
): readonly (Tensor | undefined)[] {
  const { graph } = node.inputs[0]!;
  // Backward nodes belong to the block of the forward node, so that recomputation knows where to put its copies.
  const build = () => node.op.grad!({ inputs: node.inputs, outputs: node.outputs, grads, needs, attrs: node.attrs });
  return node.block === undefined ? build() : graph.block(node.block, build);
}

/** Ids of all values that depend on one of `from`, those included. */
function reachedFrom(from: readonly Tensor[], nodes: readonly Node[]): Set<number> {
  const reached = new Set(from.map((t) => t.id));
  for (const node of nodes) {
    if (node.inputs.some((t) => reached.has(t.id))) for (const t of node.outputs) reached.add(t.id);
  }
  return reached;
}
