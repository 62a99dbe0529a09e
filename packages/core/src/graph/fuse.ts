/** Fusion: a sum whose one side is a fresh product, and a function of a fresh product, become part of the product. */
import { Graph, type Node, type Tensor } from "./graph.ts";
import { liveNodes } from "./prune.ts";
import { copyExternal } from "./rebuild.ts";

/** A node that another one takes over. */
interface Fused {
  readonly op: Node["op"];
  readonly attrs: Node["attrs"];
  readonly inputs: readonly Tensor[];
}

/**
 * A graph that computes the same with fewer nodes: add(u, f(x)) becomes f(x) with a residual where f can absorb it (`absorbAdd`), g(f(x)) becomes f(x) with g where it can
 * (`absorbMap`), and nothing else reads f(x). The fused node stands where the sum or g stood, so all that it reads is there. Saves a pass over memory and a dispatch for each.
 */
export function fuse(graph: Graph, outputs: readonly Tensor[]): { graph: Graph; outputs: Tensor[] } {
  const nodes = liveNodes(graph, outputs);
  const readers = new Map<number, number>();
  for (const node of nodes) for (const t of node.inputs) readers.set(t.id, (readers.get(t.id) ?? 0) + 1);
  for (const t of outputs) readers.set(t.id, (readers.get(t.id) ?? 0) + 1);

  const fused = new Map<Node, Fused>();
  const gone = new Set<Node>();
  /** The node that makes a value which only one other reads. */
  const freshOrigin = (t: Tensor): Node | undefined => {
    const origin = graph.originOf(t);
    const isFresh = origin.kind === "node" && readers.get(t.id) === 1 && !gone.has(origin.node);
    return isFresh && !fused.has(origin.node) ? origin.node : undefined;
  };
  const absorbed = (node: Node): { producer: Node; by: Fused } | undefined => {
    const { inputs, op } = node;
    const fn = op.mapOf?.(node.attrs);
    for (const [i, own] of (fn !== undefined || op.isSum ? inputs : []).toReversed().entries()) {
      const producer = freshOrigin(own);
      if (!producer) continue;
      const attrs =
        fn === undefined ? producer.op.absorbAdd?.(producer.attrs) : producer.op.absorbMap?.(producer.attrs, fn);
      if (!attrs) continue;
      const residual = fn === undefined ? [inputs[i]!] : [];
      return { producer, by: { op: producer.op, attrs, inputs: [...producer.inputs, ...residual] } };
    }
    return undefined;
  };
  for (const node of nodes) {
    const found = absorbed(node);
    if (!found) continue;
    fused.set(node, found.by);
    gone.add(found.producer);
  }

  const out = new Graph();
  const made = new Map<number, Tensor>();
  const value = (t: Tensor): Tensor => copyExternal(graph, t, out, made);
  for (const node of nodes) {
    if (gone.has(node)) continue;
    const { op, attrs, inputs } = fused.get(node) ?? node;
    const copies = out.apply(op, inputs.map(value), attrs);
    for (const [i, t] of node.outputs.entries()) made.set(t.id, copies[i]!);
  }
  return { graph: out, outputs: outputs.map(value) };
}
