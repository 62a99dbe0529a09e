/** Dead node elimination. */
import type { Graph, Node, Tensor } from "./graph.ts";

/** Nodes that lead to one of `outputs` or mutate something, in order. */
export function liveNodes(graph: Graph, outputs: readonly Tensor[]): Node[] {
  const wanted = new Set(outputs.map((t) => t.id));
  const live: Node[] = [];
  for (const node of graph.nodes.toReversed()) {
    if (!node.op.mutates && !node.outputs.some((t) => wanted.has(t.id))) continue;
    live.push(node);
    for (const t of node.inputs) wanted.add(t.id);
  }
  return live.toReversed();
}
