/** Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174) as a graph rewrite: layers keep their inputs and are computed again in the backward pass. */
import { Graph, type Node, type Tensor } from "./graph.ts";
import { liveNodes } from "./prune.ts";
import { copyExternal } from "./rebuild.ts";

/**
 * A new graph that computes the same. A forward value made inside a block and read by the backward pass is not kept: the block's forward nodes are copied in
 * front of its first backward node. Values that leave the block (the residual stream) are kept.
 * Forward nodes of a block are those before the first node of a later block or none; backward nodes are the ones the gradient pass gave the block afterwards.
 */
export function recompute(graph: Graph, outputs: readonly Tensor[]): { graph: Graph; outputs: Tensor[] } {
  const nodes = liveNodes(graph, outputs);
  const forwardEnd = forwardLength(nodes);
  const out = new Graph();
  const kept = new Map<number, Tensor>();
  const forwardNode = new Map<number, Node>();
  for (const node of nodes.slice(0, forwardEnd)) for (const t of node.outputs) forwardNode.set(t.id, node);

  const outside = (t: Tensor): Tensor => copyExternal(graph, t, out, kept);
  const copy = (node: Node, of: (t: Tensor) => Tensor, into: Map<number, Tensor>): void => {
    const build = () => out.apply(node.op, node.inputs.map(of), node.attrs);
    const made = node.block === undefined ? build() : out.block(node.block, build);
    for (const [i, t] of node.outputs.entries()) into.set(t.id, made[i]!);
  };

  for (const node of nodes.slice(0, forwardEnd)) copy(node, outside, kept);

  // One set of recomputed values for each block, dropped when the backward pass moves on to another block.
  let again = new Map<number, Tensor>();
  let current: number | undefined;
  for (const node of nodes.slice(forwardEnd)) {
    if (node.block !== current) {
      again = new Map();
      current = node.block;
    }
    const value = (t: Tensor): Tensor => {
      const source = forwardNode.get(t.id);
      if (!source || node.block === undefined || source.block !== node.block) return outside(t);
      const known = again.get(t.id);
      if (known) return known;
      copy(source, value, again);
      return again.get(t.id)!;
    };
    copy(node, value, kept);
  }
  return { graph: out, outputs: outputs.map(outside) };
}

/** Number of nodes before the first gradient: blocks rise in the forward pass, so it ends where a block number falls. */
function forwardLength(nodes: readonly Node[]): number {
  let highest = -1;
  let afterLast = false;
  for (const [i, node] of nodes.entries()) {
    if (node.block === undefined) {
      if (highest >= 0) afterLast = true;
      continue;
    }
    if (node.block < highest || afterLast) return i;
    highest = node.block;
  }
  return nodes.length;
}
