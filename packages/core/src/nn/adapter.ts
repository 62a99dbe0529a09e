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
  /** Hooks for one trace. `parameter` gives the graph's tensor of a key; `seed` [2] u32 is there in training and drives dropout. */
  hooks(trace: {
    readonly graph: Graph;
    readonly parameter: (key: string) => Tensor;
    readonly seed: Tensor | undefined;
  }): Hooks;
}

/** Name of an adapter's parameter in a graph; `slot` tells adapters of one graph apart. */
export function adapterParameterName(slot: string, key: string): string {
  return `adapter/${slot}/${key}`;
}

/** Hooks of an adapter in `slot` of a graph. */
export function attach(adapter: Adapter, graph: Graph, slot: string, seed?: Tensor): Hooks {
  const shapes = new Map(adapter.parameters.map((p) => [p.key, p.shape]));
  return adapter.hooks({
    graph,
    seed,
    parameter: (key) => graph.param(adapterParameterName(slot, key), shapes.get(key)!),
  });
}
