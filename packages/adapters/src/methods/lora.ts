/**
 * LoRA: f(x) + (alpha / r) B A x (Hu et al. 2021, arXiv:2106.09685, eq. 3), with PEFT's options: rsLoRA (Kalajdzievski 2023, arXiv:2312.03732), DoRA (Liu et al. 2024,
 * arXiv:2402.09353, eq. 5), patterns, embeddings, modules_to_save, trained biases. Reads the LLM-Adapters fork's config too.
 */
import type { Tensor } from "@graft/core/graph";
import type { AdapterParameter, Hooks, LinearSite } from "@graft/core/nn";
import { add, dropout, embedding, inverseRowNorm, matmul, mul, mulColumns, scale, transpose } from "@graft/core/ops";
import { hashText } from "@graft/core/random";
import type { z } from "zod";
import { savedModules } from "../base-parameters.ts";
import { type Base, type BoundMethod, defineMethod, type LowRank } from "../method.ts";
import { isFused } from "./fused-lora.ts";
import { olderBiasKeys, type Replaced, replacing, savedBaseOf, valueOf, wrappedBiases } from "../replaced.ts";
import { checkFunction, type LoraConfig, loraConfig, type LoraSite, loraSites } from "./_lora-config.ts";
import { checkInitialisation, findInitialisation, initialise } from "./_lora-init.ts";
import { changedWeight, outputNorms, toPlainLora } from "./_lora-weight.ts";

export type { LoraConfig } from "./_lora-config.ts";

export const lora = defineMethod<LoraConfig>({
  name: "lora",
  peftType: "LORA",
  tiny: { r: 2, lora_alpha: 4 },
  sizeFields: ["r", "lora_alpha"],
  config: loraConfig as z.ZodType<LoraConfig>,
  matches: (config) => !isFused(config),
  trainingDefaults: { r: 8, lora_alpha: 16, lora_dropout: 0.05 },
  bind(config, base, where, origin) {
    checkFunction(config, base, where);
    const isTaken = findInitialisation(config.init_lora_weights, where)?.isTakenFromBase ?? false;
    const sites = loraSites(config, base, { isTaken, origin, where });
    checkInitialisation(config, sites, where);
    const saved = savedModules(config.modules_to_save ?? [], base, where);
    return bound(config, base, sites, saved, where);
  },
});

function bound(
  config: LoraConfig,
  base: Base,
  sites: readonly LoraSite[],
  saved: Replaced,
  where: string,
): BoundMethod {
  const bySite = new Map(sites.map((s) => [s.site.name, s]));
  const biases = wrappedBiases(config.bias, base, new Set(bySite.keys()));
  const whole = replacing(new Map([...biases, ...saved]), base, where);
  const parameters: AdapterParameter[] = [
    ...sites.flatMap(({ site, r, keys }) => {
      const [aShape, bShape] =
        site.kind === "embedding"
          ? [
              [r, site.rows],
              [site.columns, r],
            ]
          : [
              [r, site.inDim],
              [site.outDim, r],
            ];
      return [
        { key: keys.a, shape: aShape!, trainable: true },
        { key: keys.b, shape: bShape!, trainable: true },
        ...(keys.start
          ? [
              { key: keys.start.a, shape: aShape!, trainable: false },
              { key: keys.start.b, shape: bShape!, trainable: false },
            ]
          : []),
        ...(keys.magnitude && site.kind === "linear"
          ? [{ key: keys.magnitude, shape: [site.outDim], trainable: true }]
          : []),
      ];
    }),
    ...whole.parameters,
  ];
  return {
    method: "lora",
    startsAsIdentity: config.init_lora_weights !== false,
    parameters,
    savedBase: savedBaseOf(sites.map(({ site }) => site)),
    aliases: olderBiasKeys(biases),
    async initialise(random) {
      const values = await initialise(config, base, sites, random, where);
      await whole.initialise(values);
      return values;
    },
    ...(sites.some(({ keys }) => keys.start)
      ? {
          toPlain: (values) => toPlainLora(config, sites, values),
          missing: `; PEFT must save an adapter with init_lora_weights "${config.init_lora_weights}" with path_initial_model_for_weight_conversion`,
        }
      : {}),
    hooks: ({ parameter, seed }) => ({
      parameter: whole.hook(parameter),
      ...loraHooks(config, bySite, parameter, seed),
    }),
    merge: (values) => new Map([...mergeLora(base, sites, values, where), ...whole.merge(values)]),
    lowRank: lowRankOf(config, sites, whole.parameters.length),
  };
}

function lowRankOf(
  config: LoraConfig,
  sites: readonly LoraSite[],
  wholeParameters: number,
): LowRank | { readonly impossible: string } {
  if (wholeParameters > 0) return { impossible: "modules_to_save and bias replace parameters of the base" };
  if (config.use_dora) return { impossible: "use_dora has magnitudes beside A and B" };
  if (sites.some(({ keys }) => keys.start)) return { impossible: "what A and B began with is taken out of the base" };
  return {
    rank: Math.max(config.r, ...Object.values(config.rank_pattern ?? {})),
    changes: sites.map(({ site, r, scaling, keys: { a, b } }) => ({ site, r, scaling, a, b })),
  };
}

function loraHooks(
  config: LoraConfig,
  bySite: ReadonlyMap<string, LoraSite>,
  parameter: (key: string) => Tensor,
  seed: Tensor | undefined,
): Hooks {
  const drop = (x: Tensor, name: string) =>
    seed ? dropout(x, seed, { p: config.lora_dropout, stream: hashText(name) }) : x;
  return {
    linear(site, x, f, weight) {
      const own = bySite.get(site.name);
      if (!own) return f(x);
      const { keys, scaling } = own;
      const [a, b] = [parameter(keys.a), parameter(keys.b)];
      const start = keys.start && { a: parameter(keys.start.a), b: parameter(keys.start.b) };
      // The base without what A and B began with. Dropout is not for this part: the weight it stands for is frozen.
      const without = (y: Tensor, input: Tensor) => {
        if (!start) return y;
        const first = matmul(input, start.a, { transB: true }); // [tokens, r]
        return add(y, matmul(first, start.b, { transB: true, scale: -scaling }));
      };
      const rest = (input: Tensor) => without(f(input), input);
      const dropped = drop(x, site.name);
      const low = matmul(dropped, a, { transB: true }); // [tokens, r]
      if (!keys.magnitude) return add(rest(x), matmul(low, b, { transB: true, scale: scaling }));
      // [out, in], or [in, out] as the weight is stored.
      const product = (left: Tensor, right: Tensor, factor: number) =>
        site.fanInFanOut
          ? matmul(right, left, { transA: true, transB: true, scale: factor })
          : matmul(left, right, { scale: factor });
      const change = product(b, a, scaling);
      return doraOutput(site, {
        x,
        dropped,
        f: rest,
        multiply: (input) => without(matmul(input, weight, { transB: !site.fanInFanOut }), input),
        weight,
        change: start ? add(change, product(start.b, start.a, -scaling)) : change,
        low: matmul(low, b, { transB: true, scale: scaling }),
        magnitude: parameter(keys.magnitude),
      });
    },
    embedding(site, ids, f) {
      const own = bySite.get(site.name);
      if (!own) return f(ids);
      const low = embedding(transpose(parameter(own.keys.a)), ids); // [tokens, r]
      return add(f(ids), matmul(low, parameter(own.keys.b), { transB: true, scale: own.scaling }));
    },
  };
}

interface DoraCall {
  readonly x: Tensor;
  readonly dropped: Tensor;
  /** The layer to be adapted, with its bias, and without. */
  readonly f: (x: Tensor) => Tensor;
  readonly multiply: (x: Tensor) => Tensor;
  readonly weight: Tensor;
  /** What is added to `weight`, of its shape. */
  readonly change: Tensor;
  /** s B A of the dropped x: [tokens, out]. */
  readonly low: Tensor;
  readonly magnitude: Tensor;
}

/** m / |W + s B A| (W x + s B A x) + bias, the norm a constant to the gradient (DoRA, section 4.3). With dropout the part beyond f(x) sees the dropped x, as in PEFT. */
function doraOutput(site: LinearSite, d: DoraCall): Tensor {
  const factor = mul(d.magnitude, inverseRowNorm(d.weight, d.change, site.fanInFanOut)); // [out]
  if (d.dropped === d.x && !site.hasBias) return mulColumns(add(d.f(d.x), d.low), factor);
  const plain = d.multiply(d.dropped);
  return add(d.f(d.x), add(mulColumns(add(plain, d.low), factor), scale(plain, -1)));
}

function mergeLora(
  base: Base,
  sites: readonly LoraSite[],
  values: ReadonlyMap<string, Float32Array>,
  where: string,
): Map<string, () => Promise<Float32Array>> {
  const merged = new Map<string, () => Promise<Float32Array>>();
  for (const own of sites) {
    const { site, keys } = own;
    merged.set(`${site.name}.weight`, async () => {
      const weight = await changedWeight(base, own, values);
      if (keys.magnitude && site.kind === "linear") {
        const norms = outputNorms(weight, site);
        const magnitude = valueOf(values, keys.magnitude, where);
        for (let i = 0; i < weight.length; i++) {
          const out = site.fanInFanOut ? i % site.outDim : Math.floor(i / site.inDim);
          weight[i] = weight[i]! * (magnitude[out]! / norms[out]!);
        }
      }
      return Float32Array.from(weight);
    });
  }
  return merged;
}
