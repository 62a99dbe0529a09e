/** What a training run takes on a device, from a config alone: the plans that would run, without weights and without buffers. */
import type { Capabilities } from "@graft/kernels";
import { type Footprint, footprintOf, plan } from "../graph/index.ts";
import { storedBytes, type TraceModel } from "../models/index.ts";
import type { Adapter } from "../nn/index.ts";
import { trainingGraph, trainingStateBytes, updateGraph } from "./train-step.ts";

/** Bytes on the device. */
export interface TrainingMemory extends Footprint {
  readonly weights: number;
  readonly adapter: number;
  /** Gradients and the optimizer's two moments. */
  readonly optimizer: number;
}

/**
 * Memory of steps of [batch, length] tokens: what a TrainStep of this adapter holds after its first update, with the frozen base. Throws ShapeError if something
 * is too large for the device.
 */
export function trainingMemory(
  model: TraceModel,
  adapter: Adapter,
  shape: { readonly batch: number; readonly length: number; readonly gradientCheckpointing: boolean },
  capabilities: Capabilities,
): TrainingMemory {
  const step = trainingGraph(model, adapter, shape, shape.gradientCheckpointing);
  const update = updateGraph(adapter);
  const plans = [step, update].map(({ graph, outputs }) => plan(graph, outputs, capabilities));
  return {
    weights: storedBytes(model.definition.parameters(model.config), model.dtypeOf),
    adapter: storedBytes(adapter.parameters.map(({ key, shape: s }) => ({ name: key, shape: s }))),
    optimizer: trainingStateBytes(adapter),
    ...footprintOf(plans),
  };
}
