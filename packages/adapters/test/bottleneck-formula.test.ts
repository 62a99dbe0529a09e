/** Bottlenecks against their formulas, written out in plain loops: where each stands, what it multiplies, how projections are made of factors. */
import { expect, test } from "bun:test";
import { Graph, interpret, type Tensor } from "@graft/core/graph";
import type { BranchSite, Hooks, LinearSite, Site } from "@graft/core/nn";
import { scale } from "@graft/core/ops";
import { Random } from "@graft/core/random";
import { type Base, bindAdapter, type BoundMethod } from "../src/index.ts";

const linear = (name: string, inDim: number, outDim: number): LinearSite => ({
  kind: "linear",
  name,
  weight: `${name}.weight`,
  inDim,
  outDim,
  fanInFanOut: false,
  hasBias: false,
  isHead: false,
  layer: 0,
});
const branch = (name: string, kind: "attention" | "mlp", layer = 0): BranchSite => ({
  kind: "branch",
  branch: kind,
  name,
  width: 8,
  layer,
});
const sites = [
  branch("layers.0.self_attn", "attention"),
  linear("layers.0.self_attn.q_proj", 8, 12),
  branch("layers.0.mlp", "mlp"),
  linear("layers.0.mlp.gate_proj", 8, 12),
  linear("layers.0.mlp.up_proj", 8, 12),
  linear("layers.0.mlp.down_proj", 12, 8),
  branch("layers.1.mlp", "mlp", 1),
];
function baseOfSites(all: readonly Site[]): Base {
  return {
    sites: all,
    modelType: "llama",
    sizes: { vocabSize: 9, hiddenSize: 8, layers: 2, heads: 2, kvHeads: 2, headDim: 4, maxLength: 16 },
    parameters: [],
    shapeOf: () => undefined,
    read: async () => new Float32Array(),
  };
}
const base = baseOfSites(sites);
const bind = (config: object) => bindAdapter({ peft_type: "", ...config } as never, base, "test");

const TOKENS = 3;
const random = new Random(11);
const noise = (count: number) => Float64Array.from({ length: count }, () => random.normal());

interface Run {
  readonly got: Float64Array;
  readonly x: Float64Array;
  readonly residual: Float64Array;
  /** Values of the parameter whose key ends so, of this site or shared. */
  readonly at: (end: string) => Float64Array;
}

/** One site of an adapter with random parameters, around f. f: [tokens, in] to [tokens, out]. */
function run(bound: BoundMethod, name: string, f: (x: Tensor) => Tensor): Run {
  const site = sites.find((s) => s.name === name)!;
  const graph = new Graph();
  const width = site.kind === "linear" ? site.inDim : (site as BranchSite).width;
  const shapes = new Map(bound.parameters.map((p) => [p.key, p.shape]));
  const hooks: Hooks = bound.hooks({
    graph,
    seed: undefined,
    parameter: (key) => graph.param(key, shapes.get(key)!),
  });
  const [x, residual] = [graph.input("x", [TOKENS, width]), graph.input("residual", [TOKENS, width])];
  const y = site.kind === "linear" ? hooks.linear!(site, x, f, x) : hooks.branch!(site as BranchSite, x, f, residual);
  const params = Object.fromEntries(
    bound.parameters.map(({ key, shape }) => [key, noise(shape.reduce((a, b) => a * b, 1))]),
  );
  const inputs = { x: noise(TOKENS * width), residual: noise(TOKENS * width) };
  const [got] = interpret(graph, [y], { params, inputs });
  const at = (end: string): Float64Array => {
    const own = params[`base_model.model.${name}.${end}`] ?? params[`base_model.model.${end}`];
    if (!own) throw new Error(`no ${end} of ${name} among ${Object.keys(params)}`);
    return own;
  };
  return { got: got!, ...inputs, at };
}

/** x W^T (+ b) for each token. w: [out, in]. */
function project(x: Float64Array, w: Float64Array, b?: Float64Array): Float64Array {
  const inDim = x.length / TOKENS;
  const outDim = w.length / inDim;
  return Float64Array.from({ length: TOKENS * outDim }, (_, at) => {
    const [t, o] = [Math.floor(at / outDim), at % outDim];
    let sum = b?.[o] ?? 0;
    for (let i = 0; i < inDim; i++) sum += x[t * inDim + i]! * w[o * inDim + i]!;
    return sum;
  });
}
const plus = (a: Float64Array, b: Float64Array) => a.map((v, i) => v + b[i]!);
const times = (a: Float64Array, s: number) => a.map((v) => s * v);
const near = (got: Float64Array, want: Float64Array) => {
  expect(got.length).toBe(want.length);
  for (const [i, v] of want.entries()) expect(Math.abs(got[i]! - v)).toBeLessThan(1e-10 * (1 + Math.abs(v)));
};
const change = ({ at }: Run, x: Float64Array, act: (v: number) => number) =>
  project(project(x, at("adapter_down.weight")).map(act), at("adapter_up.weight"));
const biased = ({ at }: Run, x: Float64Array, act: (v: number) => number) =>
  project(
    project(x, at("adapter_down.weight"), at("adapter_down.bias")).map(act),
    at("adapter_up.weight"),
    at("adapter_up.bias"),
  );

/** Stands for what the adapter is attached to. */
const twice = (x: Tensor) => scale(x, 2);

const activations: Record<string, (v: number) => number> = {
  relu: (v) => Math.max(v, 0),
  tanh: Math.tanh,
  silu: (v) => v / (1 + Math.exp(-v)),
  swish: (v) => v / (1 + Math.exp(-v)),
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
  gelu_new: (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))),
  quick_gelu: (v) => v / (1 + Math.exp(-1.702 * v)),
  leaky_relu: (v) => (v > 0 ? v : 0.01 * v),
};

test.each(Object.entries(activations))(
  "series with %s is W(x + s up(act(down(x)))) before, y + s up(act(down(y))) after",
  (name, act) => {
    const bound = bind({ peft_type: "BOTTLENECK", bottleneck_size: 3, scaling: 0.5, non_linearity: name });
    const before = run(bound, "layers.0.mlp.gate_proj", twice);
    near(before.got, times(plus(before.x, times(change(before, before.x, act), 0.5)), 2));
  },
);

test("series at the MLP's output works on the layer's output", () => {
  const bound = bind({ peft_type: "BOTTLENECK", bottleneck_size: 3, scaling: 4, non_linearity: "tanh" });
  const shapes = Object.fromEntries(bound.parameters.map((p) => [p.key, p.shape]));
  expect(shapes["base_model.model.layers.0.mlp.down_proj.adapter_down.weight"]).toEqual([3, 8]);
  expect(shapes["base_model.model.layers.0.mlp.down_proj.adapter_up.weight"]).toEqual([8, 3]);
  expect(shapes["base_model.model.layers.0.mlp.gate_proj.adapter_down.weight"]).toEqual([3, 8]);
  const y = noise(TOKENS * 8);
  const own = run(bound, "layers.0.mlp.down_proj", (x) => x.graph.constant("y", [TOKENS, 8], Float32Array.from(y)));
  const rounded = y.map(Math.fround);
  near(own.got, plus(rounded, times(change(own, rounded, Math.tanh), 4)));
});

test("parallel adds to the layer's output from its input; a learned scale multiplies it", () => {
  for (const scaling of [4, "learned"]) {
    const bound = bind({
      peft_type: "BOTTLENECK",
      bottleneck_size: 3,
      scaling,
      use_parallel_adapter: true,
      target_modules: ["q_proj"],
    });
    const y = noise(TOKENS * 12).map(Math.fround);
    const own = run(bound, "layers.0.self_attn.q_proj", (x) =>
      x.graph.constant("y", [TOKENS, 12], Float32Array.from(y)),
    );
    const s = typeof scaling === "number" ? scaling : own.at("adapter_scaling")[0]!;
    near(own.got, plus(y, times(change(own, own.x, Math.tanh), s)));
  }
});

const silu = activations.silu!;
const relu = activations.relu!;

test("houlsby works on the output of attention and of the MLP, with biases", () => {
  const bound = bind({ peft_type: "HOULSBY", reduction_factor: 2, scaling: 0.7 });
  for (const name of ["layers.0.self_attn", "layers.0.mlp", "layers.1.mlp"]) {
    const own = run(bound, name, twice);
    const y = times(own.x, 2);
    near(own.got, plus(y, times(biased(own, y, silu), 0.7)));
  }
});

test("pfeiffer reads the sum with the residual stream, at the MLP alone", () => {
  const bound = bind({ peft_type: "PFEIFFER", reduction_factor: 2 });
  const own = run(bound, "layers.0.mlp", twice);
  const y = times(own.x, 2);
  near(own.got, plus(y, biased(own, plus(y, own.residual), relu)));
  expect(bound.parameters.some(({ key }) => key.includes("self_attn"))).toBe(false);
});

test("he-parallel reads the block's input; its scale is 4, another number, or learned for all or for each column", () => {
  for (const scaling of [undefined, 0.3, "learned", "channel"]) {
    const bound = bind({ peft_type: "HE_PARALLEL", ...(scaling === undefined ? {} : { scaling }) });
    const own = run(bound, "layers.0.mlp", twice);
    const s = typeof scaling === "string" ? [...own.at("adapter_scaling")] : [scaling ?? 4];
    expect(s.length).toBe(scaling === "channel" ? 8 : 1);
    const added = biased(own, own.x, relu).map((v, i) => v * s[(i % 8) % s.length]!);
    near(own.got, plus(times(own.x, 2), added));
  }
});

test("norms of the adapter's own stand before its input and after its result", () => {
  const bound = bind({ peft_type: "HOULSBY", reduction_factor: 2, ln_before: true, ln_after: true });
  const own = run(bound, "layers.0.mlp", twice);
  const norm = (x: Float64Array, name: string) =>
    x.map((v, i) => {
      const row = x.slice(Math.floor(i / 8) * 8, Math.floor(i / 8) * 8 + 8);
      const mean = row.reduce((a, b) => a + b, 0) / 8;
      const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / 8;
      return (
        ((v - mean) / Math.sqrt(variance + 1e-5)) * own.at(`${name}.weight`)[i % 8]! + own.at(`${name}.bias`)[i % 8]!
      );
    });
  const y = times(own.x, 2);
  near(own.got, plus(y, norm(biased(own, norm(y, "adapter_norm_before"), silu), "adapter_norm_after")));
});

/** Sum over i of A_i (x) W_i as a [in, out] weight, transposed to [out, in]: from the definition of the Kronecker product. */
function kroneckerSum(
  own: Run,
  which: "down" | "up",
  options: { n: number; rank?: number; inDim: number; outDim: number; isRuleFactored: boolean },
) {
  const { n, rank, inDim, outDim } = options;
  const [rows, columns] = [inDim / n, outDim / n];
  const pick = (name: string) => {
    try {
      return own.at(`adapter_${which}.${name}`);
    } catch {
      return own.at(name.startsWith("W") ? name.replace("W", `W_${which}`) : name);
    }
  };
  const product = (
    name: string,
    i: number,
    r: number,
    c: number,
    factors: number | undefined,
    height: number,
    width: number,
  ): number => {
    if (factors === undefined) return pick(name)[(i * height + r) * width + c]!;
    let sum = 0;
    for (let k = 0; k < factors; k++)
      sum +=
        pick(`${name}_left`)[(i * height + r) * factors + k]! * pick(`${name}_right`)[(i * factors + k) * width + c]!;
    return sum;
  };
  return Float64Array.from({ length: outDim * inDim }, (_, at) => {
    const [o, x] = [Math.floor(at / inDim), at % inDim];
    let sum = 0;
    for (let i = 0; i < n; i++) {
      const a = product(
        "phm_rule",
        i,
        Math.floor(x / rows),
        Math.floor(o / columns),
        options.isRuleFactored ? 1 : undefined,
        n,
        n,
      );
      sum += a * product("W", i, x % rows, o % columns, rank, rows, columns);
    }
    return sum;
  });
}

test.each([
  ["as AdapterHub has it", {}, { rank: 1 }],
  ["rank 2", { phm_rank: 2 }, { rank: 2 }],
  ["whole matrices", { factorized_phm_W: false }, {}],
  ["a factored rule", { factorized_phm_rule: true }, { rank: 1, isRuleFactored: true }],
  ["a rule for each projection", { shared_phm_rule: false }, { rank: 1 }],
  ["shared weights", { shared_W_phm: true }, { rank: 1 }],
  ["no biases", { phm_bias: false }, { rank: 1 }],
])("compacter's projections are sums of Kronecker products: %s", (_name, changes, how) => {
  const n = 2;
  const bound = bind({
    peft_type: "COMPACTER",
    reduction_factor: 2,
    phm_dim: n,
    scaling: 0.5,
    non_linearity: "tanh",
    ...changes,
  });
  const own = run(bound, "layers.0.mlp", twice);
  const map = (which: "down" | "up", inDim: number, outDim: number, x: Float64Array) => {
    const bias = "phm_bias" in changes ? undefined : own.at(`adapter_${which}.b`);
    return project(x, kroneckerSum(own, which, { n, inDim, outDim, isRuleFactored: false, ...how }), bias);
  };
  const y = times(own.x, 2);
  near(own.got, plus(y, times(map("up", 4, 8, map("down", 8, 4, y).map(Math.tanh)), 0.5)));
});

test("compacter has few parameters: one rule for all, factors and biases for each projection", () => {
  const bound = bind({ peft_type: "COMPACTER", reduction_factor: 2, phm_dim: 2 });
  const count = bound.parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  // Rule 2 x 2 x 2; of each of 3 sites down: 2 (4 + 2) + 4 and up: 2 (2 + 4) + 8.
  expect(count).toBe(8 + 3 * (16 + 20));
  expect(bound.parameters.filter(({ key }) => key.endsWith("phm_rule")).length).toBe(1);
  expect(
    bind({ peft_type: "COMPACTER", reduction_factor: 2, phm_dim: 2, learn_phm: false }).parameters.find(({ key }) =>
      key.endsWith("phm_rule"),
    )!.trainable,
  ).toBe(false);
});
