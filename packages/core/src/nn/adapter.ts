/** An adapter as training and generation see it: named parameters and hooks. What it does is the adapters package's business. */
import type { Graph, Tensor } from "../graph/graph.ts";
import type { Hooks } from "./site.ts";

export interface AdapterParameter {
  /** Key in the adapter's file. */
  readonly key: string;
  readonly shape: readonly number[];
  readonly trainable: boolean;
}

export interface Adapter {
  readonly method: string;
  readonly parameters: readonly AdapterParameter[];
  /** Adapters of one signature have the same parameters and do the same with them: they differ in values alone. */
  readonly signature?: string;
  /** Rows that stand before every sequence, at positions 0, 1, ...; default 0. Whoever makes batches puts their ids there (virtualIdsOf). */
  readonly virtualTokens?: number;
  hooks(trace: AdapterTrace): Hooks;
  /** A scalar [1] that is added to the loss of a batch, in training and validation. */
  penalty?(trace: AdapterTrace): Tensor;
  /** What is to be done on the host after each optimizer step; made anew for each run. */
  afterStep?(): AfterStep;
}

/** One trace. `parameter` gives the graph's tensor of a key; `seed` [2] u32 is there in training and drives dropout. */
export interface AdapterTrace {
  readonly graph: Graph;
  readonly parameter: (key: string) => Tensor;
  readonly seed: Tensor | undefined;
}

/** The trained values as an optimizer step left them, and its gradient (clipped, as the optimizer saw it). */
export interface StepValues {
  parameter(key: string): Promise<Float32Array>;
  gradient(key: string): Promise<Float32Array>;
  write(key: string, values: Float32Array): void;
}

export interface AfterStep {
  /** `step` counts from 1. */
  run(step: number, values: StepValues): Promise<void>;
  /** What a checkpoint must hold to go on from here, by name. */
  state(): ReadonlyMap<string, Float32Array>;
  restore(state: ReadonlyMap<string, Float32Array>): void;
}

/** Name of an adapter's parameter in a graph; `slot` tells adapters of one graph apart. */
export function adapterParameterName(slot: string, key: string): string {
  return `adapter/${slot}/${key}`;
}

/** Hooks of an adapter in `slot` of a graph. */
export function attach(adapter: Adapter, graph: Graph, slot: string, seed?: Tensor): Hooks {
  return adapter.hooks(traceOf(adapter, graph, slot, seed));
}

/** What an adapter in `slot` adds to the loss. */
export function penaltyOf(adapter: Adapter, graph: Graph, slot: string): Tensor | undefined {
  return adapter.penalty?.(traceOf(adapter, graph, slot, undefined));
}

function traceOf(adapter: Adapter, graph: Graph, slot: string, seed: Tensor | undefined): AdapterTrace {
  const shapes = new Map(adapter.parameters.map((p) => [p.key, p.shape]));
  return { graph, seed, parameter: (key) => graph.param(adapterParameterName(slot, key), shapes.get(key)!) };
}
