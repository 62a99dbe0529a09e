/** A bottleneck: s up(act(down(x))), and an adapter that has one at each of its sites. */
import type { Tensor } from "@graft/core/graph";
import type { BranchSite, LinearSite } from "@graft/core/nn";
import {
  activation,
  type ActivationName,
  add,
  addColumns,
  dropout,
  fill,
  matmul,
  mulColumns,
  reshape,
  scale,
} from "@graft/core/ops";
import { hashText } from "@graft/core/random";
import type { BoundMethod } from "../method.ts";
import type { Replacing } from "../replaced.ts";
import { constant, type Start } from "../starts.ts";

export interface Trace {
  /** The graph's tensor of a key. */
  readonly parameter: (key: string) => Tensor;
  /** There in training. */
  readonly seed: Tensor | undefined;
}

export interface StartingParameter extends Start {
  readonly key: string;
  readonly isTrainable?: boolean;
}

/** How a weight [out, in] starts. */
export type WeightStart = (shape: readonly [number, number]) => Start;

/** A linear map with parameters of its own. */
export interface Projection {
  readonly parameters: readonly StartingParameter[];
  /** `factor` times its value. x: [tokens, in]; result [tokens, out]. */
  apply(x: Tensor, trace: Trace, factor?: number): Tensor;
}

/** x W^T + b, W [out, in] as KEY.weight, b [out] as KEY.bias where there is one: it starts at 0. */
export function dense(
  key: string,
  { inDim, outDim }: { readonly inDim: number; readonly outDim: number },
  { hasBias, start }: { readonly hasBias: boolean; readonly start: WeightStart },
): Projection {
  const [weight, bias] = [`${key}.weight`, `${key}.bias`];
  return {
    parameters: [
      { key: weight, ...start([outDim, inDim]) },
      ...(hasBias ? [{ key: bias, ...constant(0, [outDim]) }] : []),
    ],
    apply(x, { parameter }, factor = 1) {
      // Without a bias the factor costs nothing, and what is added to the result is part of the product (graph/fuse.ts).
      if (!hasBias) return matmul(x, parameter(weight), { transB: true, scale: factor });
      return scale(addColumns(matmul(x, parameter(weight), { transB: true }), parameter(bias)), factor); // [tokens, out]
    },
  };
}

/** What multiplies the result: a number, one that is trained, or one that is trained for each column; these start at 1. */
export type Scaling = number | "learned" | "channel";

/** How a config drops out in training: the input of down, or the result. */
export interface Dropout {
  readonly p: number;
  readonly of: "input" | "result";
}

export interface Bottleneck {
  readonly parameters: readonly StartingParameter[];
  /** s up(act(down(x))). x: [tokens, in]; result [tokens, out]. */
  change(x: Tensor, trace: Trace): Tensor;
}

/** `key` begins the keys of what is trained beside the projections; `outDim`: columns of the result. */
export function bottleneck(
  key: string,
  parts: {
    readonly down: Projection;
    readonly up: Projection;
    readonly activation: ActivationName;
    readonly scaling: Scaling;
    readonly outDim: number;
    readonly dropout: Dropout;
  },
): Bottleneck {
  const { down, up, scaling, outDim } = parts;
  const factor = `${key}.adapter_scaling`;
  const shape = scaling === "channel" ? [outDim] : [1];
  const drop = (x: Tensor, of: Dropout["of"], { seed }: Trace) =>
    seed && parts.dropout.of === of ? dropout(x, seed, { p: parts.dropout.p, stream: hashText(key) }) : x;
  return {
    parameters: [
      ...(typeof scaling === "number" ? [] : [{ key: factor, ...constant(1, shape) }]),
      ...down.parameters,
      ...up.parameters,
    ],
    change(x, trace) {
      const low = activation(parts.activation, down.apply(drop(x, "input", trace), trace)); // [tokens, size]
      if (typeof scaling === "number") return drop(up.apply(low, trace, scaling), "result", trace);
      const own = trace.parameter(factor);
      const columns = scaling === "learned" ? spread(own, outDim) : own;
      return drop(mulColumns(up.apply(low, trace), columns), "result", trace);
    },
  };
}

/** [1] as [columns]: as a product, so that the gradient is a sum over rows for all columns at once. */
function spread(factor: Tensor, columns: number): Tensor {
  const column = fill(factor.graph, [columns, 1], 1);
  return reshape(matmul(column, reshape(factor, [1, 1])), [columns]);
}

export interface PlacementCall {
  readonly x: Tensor;
  /** What the bottleneck is attached to. */
  readonly f: (x: Tensor) => Tensor;
  readonly change: (x: Tensor) => Tensor;
  /** The stream that a block's result is added to; undefined at a linear layer. */
  readonly residual: Tensor | undefined;
}
/** How the two make one: what the bottleneck reads, what its result is added to, and so its sizes. */
export interface Placement {
  readonly from: "input" | "output";
  readonly to: "input" | "output";
  apply(call: PlacementCall): Tensor;
}

/** f(x + change(x)). */
export const before: Placement = { from: "input", to: "input", apply: ({ x, f, change }) => f(add(x, change(x))) };
/** y + change(y), y = f(x). */
export const after: Placement = {
  from: "output",
  to: "output",
  apply({ x, f, change }) {
    const y = f(x);
    return add(y, change(y));
  },
};
/** f(x) + change(x). */
export const beside: Placement = { from: "input", to: "output", apply: ({ x, f, change }) => add(f(x), change(x)) };

export interface BottleneckSite {
  readonly site: LinearSite | BranchSite;
  readonly bottleneck: Bottleneck;
  readonly placement: Placement;
}

/** An adapter of bottlenecks; `whole`: parameters of the base that it trains whole. */
export function boundBottlenecks(adapter: {
  readonly method: string;
  readonly startsAsIdentity: boolean;
  readonly sites: readonly BottleneckSite[];
  readonly whole: Replacing;
  readonly settledConfig: Readonly<Record<string, unknown>>;
  readonly aliases?: ReadonlyMap<string, string>;
}): BoundMethod {
  const { method, startsAsIdentity, sites, whole, settledConfig, aliases } = adapter;
  const bySite = new Map(sites.map((own) => [own.site.name, own]));
  const starting = new Map(sites.flatMap((own) => own.bottleneck.parameters.map((p) => [p.key, p])));
  return {
    method,
    startsAsIdentity,
    settledConfig,
    floatFields: ["scaling", "adapter_dropout", "dropout", "phm_init_range"],
    parameters: [
      ...[...starting.values()].map(({ key, shape, isTrainable = true }) => ({ key, shape, trainable: isTrainable })),
      ...whole.parameters,
    ],
    savedBase: [],
    ...(aliases ? { aliases } : {}),
    async initialise(random) {
      const values = new Map([...starting.values()].map(({ key, init }) => [key, init(random)]));
      await whole.initialise(values);
      return values;
    },
    hooks(trace) {
      const wrap = (name: string, x: Tensor, f: (x: Tensor) => Tensor, residual?: Tensor) => {
        const own = bySite.get(name);
        if (!own) return f(x);
        return own.placement.apply({ x, f, change: (input) => own.bottleneck.change(input, trace), residual });
      };
      return {
        parameter: whole.hook(trace.parameter),
        linear: (site, x, f) => wrap(site.name, x, f),
        branch: (site, x, f, residual) => wrap(site.name, x, f, residual),
      };
    },
    merge: {
      impossible: "there is an activation between its two projections, so no weight of the base does the same",
    },
  };
}
