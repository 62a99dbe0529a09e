/** What an adapter should compute: the graph of its training step in plain float64. */
import { grad, interpret } from "@graft/core/graph";
import { type BaseModel, readWeight, traceModelOf, traceSequences } from "@graft/core/models";
import { adapterParameterName } from "@graft/core/nn";
import { batchInputs, type MicroBatch } from "@graft/core/train";
import { baseOf, type LoadedAdapter } from "../src/index.ts";

/** Mean loss over the labels of a batch, with the adapter's penalty, and its gradients by key. */
export async function oracle(
  model: BaseModel,
  { bound, values }: LoadedAdapter,
  batch: MicroBatch,
): Promise<{ loss: number; gradients: Map<string, Float64Array> }> {
  const { graph, loss } = traceSequences(traceModelOf(model), batch, { adapter: bound, training: true });
  const trainable = bound.parameters.filter((p) => p.trainable);
  const tensors = trainable.map(({ key, shape }) => graph.param(adapterParameterName("0", key), shape));
  const params: Record<string, Float64Array> = {};
  for (const name of baseOf(model).parameters)
    if (model.weights.has(name)) params[`base/${name}`] = Float64Array.from(await readWeight(model, name));
  for (const [key, own] of values) params[adapterParameterName("0", key)] = Float64Array.from(own);
  const supervised = batch.labels.filter((label) => label >= 0).length;
  const inputs = { ...batchInputs(batch), lossScale: [1 / supervised], penaltyScale: [1], seed: [0, 0] };
  const [first, ...rest] = interpret(graph, [loss, ...grad(loss, tensors)], { params, inputs });
  return { loss: first![0]!, gradients: new Map(trainable.map(({ key }, i) => [key, rest[i]!])) };
}
