/** What model code is written against: parameters, sites and attention, for one trace of the model. */
import { ShapeError } from "../errors/index.ts";
import type { DType, Graph, Tensor } from "../graph/graph.ts";
import { addColumns, embedding, layerNorm, matmul, reshape, rmsNorm, slice } from "../ops/index.ts";
import type { BranchSite, EmbeddingSite, Hooks, LinearSite, Site } from "./site.ts";

/** A parameter of the base as the checkpoint names it. */
export interface ParameterSpec {
  readonly name: string;
  readonly shape: readonly number[];
}

/** How queries meet keys: whole sequences in training, a paged cache in generation. q: [tokens, heads, headDim]; k, v: [tokens, kvHeads, headDim]. */
export type AttentionImplementation = (
  layer: number,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
) => Tensor;

export interface AttentionOptions {
  readonly scale: number;
  /** Keys a query sees, itself included; 0: all. */
  readonly window: number;
  /** [heads]: scores lose slope times distance (ALiBi). */
  readonly slopes?: Tensor | undefined;
}

export interface ContextOptions {
  readonly graph: Graph;
  /** Storage dtype of a base parameter; "f32" where it is trained. */
  readonly dtypeOf: (name: string) => DType;
  readonly shapeOf: (name: string) => readonly number[];
  readonly hooks?: readonly Hooks[];
  readonly attention: AttentionImplementation;
  /** [tokens] i32; virtual tokens are negative. */
  readonly ids: Tensor;
  /** [tokens] i32. */
  readonly positions: Tensor;
  /** The longest sequence of this trace; some rotary scalings depend on it. */
  readonly maxLength: number;
}

export class ModelContext {
  readonly graph: Graph;
  readonly positions: Tensor;
  readonly maxLength: number;
  /** Intermediate values by name, for verification and inspection. Not computed unless asked for. */
  readonly taps = new Map<string, Tensor>();
  readonly sites: Site[] = [];
  #options: ContextOptions;
  #layer: number | undefined;

  constructor(options: ContextOptions) {
    this.#options = options;
    this.graph = options.graph;
    this.positions = options.positions;
    this.maxLength = options.maxLength;
  }

  /** A parameter of a module, or what an adapter puts in its place. `stored` is its name in the checkpoint. */
  parameter(name: string, stored = name): Tensor {
    for (const hooks of this.#options.hooks ?? []) {
      const own = hooks.parameter?.(name, stored);
      if (own) return own;
    }
    return this.graph.param(`base/${stored}`, this.#options.shapeOf(stored), this.#options.dtypeOf(stored));
  }

  /** The linear layer `name`: x W^T + b, or x W + b if its weight is stored [in, out]. `weight` names another tensor where the layer is tied. */
  linear(
    name: string,
    x: Tensor,
    options: {
      readonly bias?: boolean;
      readonly fanInFanOut?: boolean;
      readonly isHead?: boolean;
      readonly weight?: string;
    } = {},
  ): Tensor {
    const fanInFanOut = options.fanInFanOut ?? false;
    const stored = options.weight ?? `${name}.weight`;
    const weight = this.parameter(`${name}.weight`, stored);
    const [outDim, inDim] = (fanInFanOut ? weight.shape.toReversed() : weight.shape) as [number, number];
    const site: LinearSite = {
      kind: "linear",
      name,
      weight: stored,
      inDim,
      outDim,
      fanInFanOut,
      hasBias: options.bias ?? false,
      isHead: options.isHead ?? false,
      layer: this.#layer,
    };
    this.sites.push(site);
    let f = (input: Tensor): Tensor => {
      const y = matmul(input, weight, { transB: !fanInFanOut });
      return options.bias ? addColumns(y, this.parameter(`${name}.bias`)) : y;
    };
    for (const hooks of this.#options.hooks ?? []) {
      const inner = f;
      if (hooks.linear) f = (input) => hooks.linear!(site, input, inner, weight);
    }
    return f(x);
  }

  /** Rows of `name`.weight. ids: [tokens]. */
  embedding(name: string, ids: Tensor): Tensor {
    const table = this.parameter(`${name}.weight`);
    const [rows, columns] = table.shape as [number, number];
    const site: EmbeddingSite = { kind: "embedding", name, rows, columns, layer: undefined };
    this.sites.push(site);
    let f = (input: Tensor): Tensor => embedding(table, input);
    for (const hooks of this.#options.hooks ?? []) {
      const inner = f;
      if (hooks.embedding) f = (input) => hooks.embedding!(site, input, inner);
    }
    return f(ids);
  }

  /**
   * The residual block `name`: f from the normed input x [tokens, width] to what the model adds to `residual`, the stream as it enters the block.
   * `kind` says what the block does. The model itself adds.
   */
  branch(name: string, kind: BranchSite["branch"], x: Tensor, f: (x: Tensor) => Tensor, residual: Tensor): Tensor {
    const site: BranchSite = { kind: "branch", branch: kind, name, width: x.shape.at(-1)!, layer: this.#layer };
    this.sites.push(site);
    let whole = f;
    for (const hooks of this.#options.hooks ?? []) {
      const inner = whole;
      if (hooks.branch) whole = (input) => hooks.branch!(site, input, inner, residual);
    }
    return whole(x);
  }

  /** Attention of one layer. q: [tokens, heads, headDim]; k, v: [tokens, kvHeads, headDim], as adapters may change them; result as q. */
  attention(layer: number, q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Tensor {
    let own = { k, v };
    for (const hooks of this.#options.hooks ?? [])
      own = hooks.keysValues?.(layer, own.k, own.v, this.#options.ids) ?? own;
    return this.#options.attention(layer, q, own.k, own.v, options);
  }

  rmsNorm(name: string, x: Tensor, eps: number): Tensor {
    return rmsNorm(x, this.parameter(`${name}.weight`), eps);
  }

  layerNorm(name: string, x: Tensor, eps: number): Tensor {
    return layerNorm(x, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`), eps);
  }

  /** [tokens, n * headDim] as [tokens, n, headDim]. */
  heads(x: Tensor, headDim: number): Tensor {
    const [tokens, width] = x.shape as [number, number];
    if (width % headDim !== 0) throw new ShapeError(`heads: width ${width} is no multiple of the head size ${headDim}`);
    return reshape(x, [tokens, width / headDim, headDim]);
  }

  /** The parts of a fused projection whose columns lie head by head, [head][part][headDim]: each [tokens, heads, headDim]. x: [tokens, heads * parts * headDim]. */
  fusedHeads(x: Tensor, headDim: number, parts: number): Tensor[] {
    const grouped = this.heads(x, parts * headDim); // [tokens, heads, parts * headDim]
    return Array.from({ length: parts }, (_, i) => slice(grouped, 2, i * headDim, headDim));
  }

  /** One decoder layer: the unit of recomputation, and the layer number of the sites inside. */
  layer(index: number, build: () => Tensor): Tensor {
    this.#layer = index;
    const out = this.tap(`layer_out.${index}`, this.graph.block(index, build));
    this.#layer = undefined;
    return out;
  }

  /** Names an intermediate value. */
  tap(name: string, value: Tensor): Tensor {
    this.taps.set(name, value);
    return value;
  }
}
