/** Tracing a model: over whole sequences (training, scoring) or over rows of a paged cache (generation). */
import { SAMPLE_OPTIONS } from "@graft/kernels";
import type { DType } from "../graph/graph.ts";
import { Graph, type Tensor } from "../graph/graph.ts";
import type { ModelDefinition, ModelSizes } from "./model.ts";
import {
  add,
  attention,
  cacheWrite,
  crossEntropy,
  embedding,
  linearCrossEntropy,
  matmulOp,
  mul,
  pagedAttention,
  reshape,
  sample,
  scaledSumOf,
} from "../ops/index.ts";
import { type AttentionImplementation, ModelContext } from "../nn/context.ts";
import { StackError } from "../errors/index.ts";
import { attach, type Adapter, penaltyOf } from "../nn/adapter.ts";
import { type AdapterMix, mixedHooks } from "../nn/mixed.ts";
import type { Hooks, Site } from "../nn/site.ts";

/** What a trace needs of a base: no buffers, so plans can be made without weights. */
export interface TraceModel {
  readonly definition: ModelDefinition;
  readonly config: ModelSizes;
  /** Storage dtype of each parameter. */
  readonly dtypeOf: (name: string) => DType;
}

export interface SequenceTrace {
  readonly graph: Graph;
  readonly context: ModelContext;
  readonly hidden: Tensor;
  /** [batch * length, vocabSize]. */
  readonly logits: Tensor;
  /** -ln p(label) of each position, 0 where the label is negative, [batch * length]. */
  readonly tokenLosses: Tensor;
  /** lossScale * sum of tokenLosses, and penaltyScale * the adapter's penalty where it has one, [1]. */
  readonly loss: Tensor;
}

/**
 * Whole sequences. Inputs of the graph: ids, positions, labels [batch * length] i32 (labels already shifted: label of a position is the next token, negative
 * to ignore), segments [batch, length] i32 (0 is padding), lossScale [1], penaltyScale [1] where an adapter has a penalty, and seed [2] u32 where an adapter drops out.
 */
export function traceSequences(
  model: TraceModel,
  shape: { readonly batch: number; readonly length: number },
  options: {
    readonly adapter?: Adapter | undefined;
    readonly training?: boolean;
    readonly hooks?: readonly Hooks[];
  } = {},
): SequenceTrace {
  const { batch, length } = shape;
  const graph = new Graph();
  const tokens = batch * length;
  const ids = graph.input("ids", [tokens], "i32");
  const positions = graph.input("positions", [tokens], "i32");
  const segments = graph.input("segments", [batch, length], "i32");
  const labels = graph.input("labels", [tokens], "i32");
  const lossScale = graph.input("lossScale", [1]);
  const seed = options.training ? graph.input("seed", [2], "u32") : undefined;
  const overSequences: AttentionImplementation = (_layer, q, k, v, { slopes, ...attrs }) => {
    const split = (t: Tensor) => reshape(t, [batch, length, t.shape[1]!, t.shape[2]!]);
    const distance = slopes && { slopes, positions: reshape(positions, [batch, length]) };
    return reshape(attention(split(q), split(k), split(v), segments, attrs, distance), q.shape);
  };
  const hooks = [...(options.hooks ?? []), ...(options.adapter ? [attach(options.adapter, graph, "0", seed)] : [])];
  const context = new ModelContext({
    ...contextOf(model),
    graph,
    hooks,
    attention: overSequences,
    ids,
    positions,
    maxLength: length,
  });
  const hidden = model.definition.hidden(context, model.config, ids);
  const logits = model.definition.logits(context, model.config, hidden);
  const tokenLosses = lossOf(graph, logits, labels);
  const ofTokens = scaledSumOf(tokenLosses, lossScale);
  const penalty = options.adapter && penaltyOf(options.adapter, graph, "0");
  const loss = penalty ? add(ofTokens, mul(penalty, graph.input("penaltyScale", [1]))) : ofTokens;
  return { graph, context, hidden, logits, tokenLosses, loss };
}

/** Per-token loss; where the logits are one product with a frozen weight, without holding them. */
function lossOf(graph: Graph, logits: Tensor, labels: Tensor): Tensor {
  const origin = graph.originOf(logits);
  if (origin.kind === "node" && (origin.node.op as unknown) === matmulOp) {
    const [x, w] = origin.node.inputs;
    const source = graph.originOf(w!);
    if (origin.node.attrs.transB && source.kind === "param" && source.name.startsWith("base/"))
      return linearCrossEntropy(x!, w!, labels);
  }
  return crossEntropy(logits, labels);
}

export interface PagedShape {
  /** Tokens of one pass, over all sequences. */
  readonly rows: number;
  /** Rows whose logits are wanted. */
  readonly outputs: number;
  readonly sequences: number;
  readonly maxPages: number;
  readonly pageSize: number;
  /** Pages of the cache. */
  readonly pages: number;
}

/**
 * Rows of any sequences against the paged cache. Inputs: ids, positions, sequences, slots [rows] i32 (slot = page * pageSize + offset; negative: not written),
 * pages [sequences, maxPages] i32; those of a mix; wanted [outputs] i32 (rows whose next token is asked for), sampling [outputs, 4] (see ops/sample.ts). Params cache/k/LAYER and cache/v/LAYER [slots, kvHeads, headDim].
 */
export function tracePaged(
  model: TraceModel,
  shape: PagedShape,
  options: { readonly adapter?: Adapter | undefined; readonly mix?: AdapterMix | undefined } = {},
): { readonly graph: Graph; readonly logits: Tensor; readonly ids: Tensor; readonly logprobs: Tensor } {
  const graph = new Graph();
  const row = (name: string) => graph.input(name, [shape.rows], "i32");
  const [ids, positions, sequences, slots] = [row("ids"), row("positions"), row("sequences"), row("slots")];
  const pages = graph.input("pages", [shape.sequences, shape.maxPages], "i32");
  const { kvHeads, headDim } = model.config;
  const overPages: AttentionImplementation = (layer, q, k, v, attrs) => {
    const cacheShape = [shape.pages * shape.pageSize, kvHeads, headDim];
    const kCache = graph.param(`cache/k/${layer}`, cacheShape);
    const vCache = graph.param(`cache/v/${layer}`, cacheShape);
    cacheWrite(kCache, k, slots);
    cacheWrite(vCache, v, slots);
    return pagedAttention(q, kCache, vCache, { pages, sequences, positions }, { ...attrs, pageSize: shape.pageSize });
  };
  const hooks = [
    ...(options.adapter ? [attach(options.adapter, graph, "0")] : []),
    ...(options.mix ? mixedHooks(options.mix, graph, shape.rows) : []),
  ];
  const context = new ModelContext({
    ...contextOf(model),
    graph,
    hooks,
    attention: overPages,
    ids,
    positions,
    maxLength: model.config.maxLength,
  });
  const hidden = model.definition.hidden(context, model.config, ids);
  const wanted = embedding(hidden, graph.input("wanted", [shape.outputs], "i32")); // [outputs, hiddenSize]
  const logits = model.definition.logits(context, model.config, wanted); // [outputs, vocabSize]
  return { graph, logits, ...sample(logits, graph.input("sampling", [shape.outputs, SAMPLE_OPTIONS])) };
}

/**
 * How an adapter's rows go with rows of others in one pass: "stacked", its tensors side by side with those of its like; "selected", computed for all rows and taken
 * for its own; "alone", not at all.
 */
export type Sharing = "stacked" | "selected" | "alone";

/** Found by trying: what an adapter does says it, not what it is called. */
export function sharingOf(model: TraceModel, adapter: Adapter): Sharing {
  const shape = { rows: 2, outputs: 1, sequences: 1, maxPages: 1, pageSize: 1, pages: 2 };
  const works = (mix: AdapterMix): boolean => {
    try {
      tracePaged(model, shape, { mix });
      return true;
    } catch (error) {
      if (error instanceof StackError) return false;
      throw error;
    }
  };
  if (adapter.signature !== undefined && works({ stacks: [{ adapter, capacity: 2 }], selected: [] })) return "stacked";
  return works({ stacks: [], selected: [adapter] }) ? "selected" : "alone";
}

/** Every place of a model where an adapter may attach. */
export function sitesOf(model: Pick<TraceModel, "definition" | "config">): readonly Site[] {
  return traceSequences({ ...model, dtypeOf: () => "f32" }, { batch: 1, length: 1 }).context.sites;
}

function contextOf(model: TraceModel) {
  const shapes = new Map(model.definition.parameters(model.config).map((p) => [p.name, p.shape]));
  return { dtypeOf: model.dtypeOf, shapeOf: (name: string) => shapes.get(name)! };
}
