/**
 * AdapterFusion (Pfeiffer et al. 2021, arXiv:2005.00247, section 3.2): at every block that the adapters change, attention over what they do there.
 * With y the block's output and d_i what adapter i adds to it, s_i = (Q y + b_Q) . (K d_i + b_K), p = softmax(s), the result is y + sum of p_i V d_i. Q, K, V are
 * trained, the adapters are not (unless they are marked trainable). V begins as the identity and is held near it.
 */
import { ConfigError } from "@graft/core/errors";
import { Graph, type Tensor } from "@graft/core/graph";
import { type AdapterTrace, type BranchSite, type Hooks, once } from "@graft/core/nn";
import { add, addColumns, concat, einsum, matmul, mul, reshape, scale, scaledSumOf, softmax } from "@graft/core/ops";
import { z } from "zod";
import { type Base, defineMethod } from "../method.ts";
import { bindParts, composed, hooksOf, type Part, partsSchema } from "../composition.ts";
import { constant, diagonal, normal } from "../starts.ts";
import { identityConstant } from "./_identity.ts";

const config = z.looseObject({
  adapters: partsSchema,
  /** Adds 0.01 |V - 1|^2 of every block to the loss. */
  regularization: z.boolean().default(true),
});

export const fusion = defineMethod({
  name: "fusion",
  peftType: "FUSION",
  tiny: {
    adapters: [
      {
        name: "a",
        config: { peft_type: "PFEIFFER", bottleneck_size: 4, non_linearity: "tanh", init_weights: "bert" },
        trainable: true,
      },
      { name: "b", config: { peft_type: "PFEIFFER", bottleneck_size: 4, non_linearity: "tanh", init_weights: "bert" } },
    ],
  },
  config,
  bind({ adapters, regularization }, base, where, origin, shapeInFile, bindOther) {
    const parts = bindParts(adapters, { base, where, origin, shapeInFile, bindOther });
    const sites = fusedSites(parts, base, where);
    const common = composed("fusion", parts);
    const own = sites.flatMap(({ name, width }) => [
      ...["query", "key"].flatMap((which) => [
        { key: keyOf(name, `${which}.weight`), ...normal(0.02, [width, width]) },
        { key: keyOf(name, `${which}.bias`), ...constant(0, [width]) },
      ]),
      { key: keyOf(name, "value.weight"), ...diagonal(width, 1e-6) },
    ]);
    const penalty = (trace: AdapterTrace): Tensor =>
      [
        ...sites.map(({ name, width }) => distanceFromIdentity(trace.parameter(keyOf(name, "value.weight")), width)),
        ...(common.penalty ? [common.penalty(trace)] : []),
      ].reduce((a, b) => add(a, b));
    return {
      ...common,
      parameters: [...common.parameters, ...own.map(({ key, shape }) => ({ key, shape, trainable: true }))],
      async initialise(random) {
        const values = await common.initialise(random);
        for (const { key, init } of own) values.set(key, init(random));
        return values;
      },
      ...(regularization ? { penalty } : {}),
      hooks: (trace) => fused(sites, hooksOf(parts, trace), trace),
      merge: { impossible: "its attention depends on the input" },
    };
  },
});

function keyOf(site: string, part: string): string {
  return `fusion.${site}.${part}`;
}

/** The blocks that the parts change: the same for all. Throws ConfigError naming the first where they differ, and for a part that acts elsewhere. */
function fusedSites(parts: readonly Part[], base: Base, where: string): BranchSite[] {
  const changed = parts.map((part) => changedBlocks(part, base, where));
  for (const [i, part] of parts.entries()) {
    if (changed[i]!.length === 0)
      throw new ConfigError(
        `${where}: ${part.name} (${part.bound.method}) is around no block; fusion takes adapters around blocks, such as pfeiffer or houlsby`,
      );
    const other = changed[0]!.find((site) => !changed[i]!.includes(site));
    const more = changed[i]!.find((site) => !changed[0]!.includes(site));
    if (other) throw new ConfigError(`${where}: ${parts[0]!.name} is around ${other.name}, ${part.name} is not`);
    if (more) throw new ConfigError(`${where}: ${part.name} is around ${more.name}, ${parts[0]!.name} is not`);
  }
  return changed[0]!;
}

/** Found by trying on a graph that nobody runs. */
function changedBlocks({ name, bound }: Part, base: Base, where: string): BranchSite[] {
  const graph = new Graph();
  const shapes = new Map(bound.parameters.map((p) => [p.key, p.shape]));
  const hooks = bound.hooks({ graph, seed: undefined, parameter: (key) => graph.param(key, shapes.get(key)!) });
  const elsewhere = base.sites.find((site) => {
    if (site.kind !== "linear" || !hooks.linear) return false;
    const weight = site.fanInFanOut ? [site.inDim, site.outDim] : [site.outDim, site.inDim];
    const y = graph.input(`y/${site.name}`, [1, site.outDim]);
    const out = hooks.linear(
      site,
      graph.input(`x/${site.name}`, [1, site.inDim]),
      () => y,
      graph.param(`w/${site.name}`, weight),
    );
    return out !== y;
  });
  if (elsewhere || bound.virtualTokens)
    throw new ConfigError(
      `${where}: ${name} (${bound.method}) acts on ${elsewhere?.name ?? "virtual tokens"}; fusion takes adapters around blocks alone`,
    );
  return base.sites.flatMap((site) => {
    if (site.kind !== "branch" || !hooks.branch) return [];
    const [x, y, residual] = ["x", "y", "residual"].map((of) => graph.input(`${of}/${site.name}`, [1, site.width])) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    return hooks.branch(site, x, () => y, residual) === y ? [] : [site];
  });
}

function fused(sites: readonly BranchSite[], all: readonly Hooks[], { parameter }: AdapterTrace): Hooks {
  const names = new Set(sites.map((site) => site.name));
  return {
    branch(site, x, f, residual) {
      if (!names.has(site.name)) return f(x);
      const plain = once(f);
      const y = plain(x); // [tokens, width]
      const [tokens, width] = y.shape as [number, number];
      const changes = all.map((hooks) => add(hooks.branch!(site, x, plain, residual), scale(y, -1)));
      const stacked = reshape(concat(changes as [Tensor, ...Tensor[]], 1), [tokens * all.length, width]);
      const linear = (which: string, t: Tensor) =>
        addColumns(
          matmul(t, parameter(keyOf(site.name, `${which}.weight`)), { transB: true }),
          parameter(keyOf(site.name, `${which}.bias`)),
        );
      const shape = [tokens, all.length, width];
      const keys = reshape(linear("key", stacked), shape);
      const values = reshape(matmul(stacked, parameter(keyOf(site.name, "value.weight")), { transB: true }), shape);
      const weights = softmax(einsum("td,tnd->tn", linear("query", y), keys)); // [tokens, adapters]
      return add(y, einsum("tn,tnd->td", weights, values));
    },
  };
}

/** 0.01 |V - 1|^2, [1]. */
function distanceFromIdentity(value: Tensor, width: number): Tensor {
  const { graph } = value;
  const apart = add(value, identityConstant(graph, width, -1));
  return scaledSumOf(mul(apart, apart), graph.constant("fusion.regularization", [1], Float32Array.of(0.01)));
}
