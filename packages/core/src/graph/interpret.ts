/** The oracle: runs a graph on the CPU in plain float64, one node after the other. Slow on purpose. */
import { ShapeError } from "../errors/index.ts";
import { type Graph, sizeOf, type Tensor } from "./graph.ts";
import type { Values } from "./op.ts";
import { liveNodes } from "./prune.ts";

/**
 * Values of `outputs`. `inputs` and `params` are by name; params that ops mutate are changed in place.
 * Throws ShapeError if one is missing or has the wrong length.
 */
export function interpret(
  graph: Graph,
  outputs: readonly Tensor[],
  externals: {
    readonly inputs?: Readonly<Record<string, ArrayLike<number>>>;
    readonly params?: Readonly<Record<string, Values>>;
  },
): Values[] {
  const values = new Map<number, Values>();
  const valueOf = (tensor: Tensor): Values => {
    const known = values.get(tensor.id);
    if (known) return known;
    const origin = graph.originOf(tensor);
    if (origin.kind === "node")
      throw new ShapeError(`interpret: value ${tensor.id} of ${origin.node.op.name} is not computed yet`);
    const given =
      origin.kind === "constant"
        ? origin.data
        : origin.kind === "input"
          ? externals.inputs?.[origin.name]
          : externals.params?.[origin.name];
    if (!given || given.length !== sizeOf(tensor.shape)) {
      throw new ShapeError(
        `interpret: ${origin.kind} ${origin.name} needs ${sizeOf(tensor.shape)} values for [${tensor.shape}], has ${given?.length ?? "none"}`,
      );
    }
    const own = given instanceof Float64Array ? given : Float64Array.from(given);
    values.set(tensor.id, own);
    return own;
  };
  for (const node of liveNodes(graph, outputs)) {
    const inputs = node.inputs.map(valueOf);
    const alias = node.op.alias;
    const results = node.outputs.map((t) => (alias === undefined ? new Float64Array(sizeOf(t.shape)) : inputs[alias]!));
    if (alias === undefined) {
      node.op.interpret({
        inputs,
        outputs: results,
        inputSpecs: node.inputs,
        outputSpecs: node.outputs,
        attrs: node.attrs,
      });
    }
    for (const [i, t] of node.outputs.entries()) values.set(t.id, results[i]!);
  }
  return outputs.map(valueOf);
}
