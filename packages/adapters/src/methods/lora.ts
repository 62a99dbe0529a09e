/**
 * LoRA: f(x) + (alpha / r) B A x (Hu et al. 2021, arXiv:2106.09685, eq. 3), with PEFT's options: rsLoRA (Kalajdzievski 2023, arXiv:2312.03732), DoRA (Liu et al. 2024,
 * arXiv:2402.09353, eq. 5), patterns, embeddings, modules_to_save, trained biases. Reads the LLM-Adapters fork's config too.
 */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { AdapterParameter, Hooks, LinearSite, Site } from "@graft/core/nn";
import { add, dropout, embedding, inverseRowNorm, matmul, mul, mulColumns, scale, transpose } from "@graft/core/ops";
import { hashText, type Random } from "@graft/core/random";
import { z } from "zod";
import { type Base, type BoundMethod, defineMethod } from "../method.ts";
import { patternValue, selectSites } from "../targets.ts";

const names = z.union([z.string(), z.array(z.string())]);
const oneOrMany = <T extends z.ZodType>(item: T) => z.union([item, z.array(item)]);

export const loraConfig = z.looseObject({
  r: z.int().min(1, "r must be at least 1").default(8),
  lora_alpha: z.number().default(8),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: names.nullish(),
  exclude_modules: names.nullish(),
  bias: z.enum(["none", "all", "lora_only"]).default("none"),
  fan_in_fan_out: z.boolean().default(false),
  use_rslora: z.boolean().default(false),
  use_dora: z.boolean().default(false),
  init_lora_weights: z.union([z.boolean(), z.literal("gaussian")]).default(true),
  rank_pattern: z.record(z.string(), z.int().min(1)).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
  layers_to_transform: oneOrMany(z.int()).nullish(),
  layers_pattern: oneOrMany(z.string()).nullish(),
  modules_to_save: z.array(z.string()).nullish(),
  /** Only in the fork's files: one flag for each third of a fused projection. */
  enable_lora: z.array(z.boolean()).nullish(),
  merge_weights: z.boolean().optional(),
});
export type LoraConfig = z.output<typeof loraConfig>;

/** PEFT's default target modules by model_type. */
const defaultTargets: Readonly<Record<string, readonly string[]>> = {
  llama: ["q_proj", "v_proj"],
};

interface LoraSite {
  readonly site: Site;
  readonly r: number;
  readonly scaling: number;
  readonly keys: { readonly a: string; readonly b: string; readonly magnitude: string | undefined };
}

export const lora = defineMethod<LoraConfig>({
  name: "lora",
  peftType: "LORA",
  config: loraConfig as z.ZodType<LoraConfig>,
  bind(config, base, where) {
    if (config.enable_lora) {
      throw new ConfigError(
        `${where}: enable_lora (the fork's fused projections) needs a fused query-key-value weight, ${base.modelType} has none`,
      );
    }
    const sites = loraSites(config, base, where);
    const saved = savedModules(config, base, where);
    return bound(config, base, sites, saved, where);
  },
});

function loraSites(config: LoraConfig, base: Base, where: string): LoraSite[] {
  const targetModules = config.target_modules ?? defaultTargets[base.modelType];
  if (!targetModules) throw new ConfigError(`${where}: target_modules is not set and ${base.modelType} has no default`);
  const many = <T>(value: T | T[] | null | undefined): T[] | undefined =>
    value === null || value === undefined ? undefined : Array.isArray(value) ? value : [value];
  const rules = {
    targetModules,
    excludeModules: config.exclude_modules ?? undefined,
    layersToTransform: many(config.layers_to_transform),
    layersPattern: many(config.layers_pattern),
    // Only the fork writes merge_weights.
    looseSuffix: config.merge_weights !== undefined,
  };
  return selectSites(base.sites, rules, where).map((site) => {
    const r = patternValue(config.rank_pattern ?? {}, site.name, config.r, where);
    const alpha = patternValue(config.alpha_pattern ?? {}, site.name, config.lora_alpha, where);
    const key = `base_model.model.${site.name}`;
    if (site.kind === "embedding" && config.use_dora)
      throw new ConfigError(`${where}: use_dora on the embedding ${site.name} is not supported`);
    return {
      site,
      r,
      scaling: alpha / (config.use_rslora ? Math.sqrt(r) : r),
      keys:
        site.kind === "embedding"
          ? { a: `${key}.lora_embedding_A`, b: `${key}.lora_embedding_B`, magnitude: undefined }
          : {
              a: `${key}.lora_A.weight`,
              b: `${key}.lora_B.weight`,
              magnitude: config.use_dora ? `${key}.lora_magnitude_vector` : undefined,
            },
    };
  });
}

/** Base parameters that are trained whole: modules_to_save, and biases. Maps the parameter's checkpoint name to its key. */
function savedModules(config: LoraConfig, base: Base, where: string): Map<string, string> {
  const saved = new Map<string, string>();
  const take = (module: string) => {
    const found = ["weight", "bias"].filter((part) => base.shapeOf(`${module}.${part}`) !== undefined);
    for (const part of found) saved.set(`${module}.${part}`, `base_model.model.${module}.${part}`);
    return found.length > 0;
  };
  for (const name of config.modules_to_save ?? []) {
    const modules = base.sites.map((s) => s.name).filter((module) => module === name || module.endsWith(`.${name}`));
    if (!modules.map(take).includes(true))
      throw new ConfigError(`${where}: modules_to_save names "${name}", which is no module with weights of its own`);
  }
  return saved;
}

function bound(
  config: LoraConfig,
  base: Base,
  sites: readonly LoraSite[],
  saved: ReadonlyMap<string, string>,
  where: string,
): BoundMethod {
  const bySite = new Map(sites.map((s) => [s.site.name, s]));
  const biases = new Map<string, string>();
  if (config.bias !== "none") {
    for (const site of base.sites) {
      const isTrained = config.bias === "all" || bySite.has(site.name);
      if (site.kind === "linear" && site.hasBias && isTrained)
        biases.set(`${site.name}.bias`, `base_model.model.${site.name}.bias`);
    }
  }
  const replaced = new Map([...saved, ...biases]);
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
        ...(keys.magnitude && site.kind === "linear"
          ? [{ key: keys.magnitude, shape: [site.outDim], trainable: true }]
          : []),
      ];
    }),
    ...[...replaced].map(([name, key]) => ({ key, shape: base.shapeOf(name)!, trainable: true })),
  ];
  const savedBase = sites.flatMap(({ site }) =>
    site.kind === "embedding"
      ? [{ key: `base_model.model.${site.name}.base_layer.weight`, parameter: `${site.name}.weight` }]
      : [],
  );
  return {
    method: "lora",
    parameters,
    savedBase,
    initialise: (random) => initialise(config, base, sites, replaced, random),
    hooks: ({ parameter, seed }) => loraHooks(config, bySite, replaced, parameter, seed),
    merge: (values) => mergeLora(base, sites, replaced, values, where),
  };
}

function loraHooks(
  config: LoraConfig,
  bySite: ReadonlyMap<string, LoraSite>,
  replaced: ReadonlyMap<string, string>,
  parameter: (key: string) => Tensor,
  seed: Tensor | undefined,
): Hooks {
  const drop = (x: Tensor, name: string) =>
    seed ? dropout(x, seed, { p: config.lora_dropout, stream: hashText(name) }) : x;
  return {
    parameter(name) {
      const key = replaced.get(name);
      return key === undefined ? undefined : parameter(key);
    },
    linear(site, x, f, weight) {
      const own = bySite.get(site.name);
      if (!own) return f(x);
      const [a, b] = [parameter(own.keys.a), parameter(own.keys.b)];
      const dropped = drop(x, site.name);
      const low = matmul(dropped, a, { transB: true }); // [tokens, r]
      if (!own.keys.magnitude) return add(f(x), matmul(low, b, { transB: true, scale: own.scaling }));
      return doraOutput(site, {
        x,
        dropped,
        f,
        weight,
        low,
        a,
        b,
        magnitude: parameter(own.keys.magnitude),
        scaling: own.scaling,
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
  readonly f: (x: Tensor) => Tensor;
  readonly weight: Tensor;
  readonly low: Tensor;
  readonly a: Tensor;
  readonly b: Tensor;
  readonly magnitude: Tensor;
  readonly scaling: number;
}

/** m / |W + s B A| (W x + s B A x) + bias, the norm a constant to the gradient (DoRA, section 4.3). With dropout the part beyond f(x) sees the dropped x, as in PEFT. */
function doraOutput(site: LinearSite, d: DoraCall): Tensor {
  if (site.fanInFanOut)
    throw new ConfigError(`use_dora on ${site.name}: weights stored [in, out] are not supported yet`);
  const change = matmul(d.b, d.a, { scale: d.scaling }); // [out, in]
  const factor = mul(d.magnitude, inverseRowNorm(d.weight, change)); // [out]
  const low = matmul(d.low, d.b, { transB: true, scale: d.scaling }); // [tokens, out]
  if (d.dropped === d.x && !site.hasBias) return mulColumns(add(d.f(d.x), low), factor);
  const plain = matmul(d.dropped, d.weight, { transB: true });
  return add(d.f(d.x), add(mulColumns(add(plain, low), factor), scale(plain, -1)));
}

async function initialise(
  config: LoraConfig,
  base: Base,
  sites: readonly LoraSite[],
  replaced: ReadonlyMap<string, string>,
  random: Random,
): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const { site, r, keys } of sites) {
    const normal = (count: number, std: number) => Float32Array.from({ length: count }, () => std * random.normal());
    // nn.Linear's default, Kaiming uniform with a = sqrt(5): U(-1/sqrt(fan in), 1/sqrt(fan in)).
    const uniform = (count: number, fanIn: number) =>
      Float32Array.from({ length: count }, () => (2 * random.uniform() - 1) / Math.sqrt(fanIn));
    if (site.kind === "embedding") {
      values.set(keys.a, new Float32Array(r * site.rows));
      values.set(keys.b, normal(site.columns * r, 1));
      continue;
    }
    const { init_lora_weights: init } = config;
    values.set(keys.a, init === "gaussian" ? normal(r * site.inDim, 1 / r) : uniform(r * site.inDim, site.inDim));
    values.set(keys.b, init === false ? uniform(site.outDim * r, r) : new Float32Array(site.outDim * r));
    if (keys.magnitude)
      values.set(
        keys.magnitude,
        rowNorms(await changedWeight(base, { site, r, scaling: 0, keys }, values), site.outDim),
      );
  }
  for (const [name, key] of replaced) values.set(key, await base.read(name));
  return values;
}

async function mergeLora(
  base: Base,
  sites: readonly LoraSite[],
  replaced: ReadonlyMap<string, string>,
  values: ReadonlyMap<string, Float32Array>,
  where: string,
): Promise<Map<string, Float32Array>> {
  const merged = new Map<string, Float32Array>();
  for (const own of sites) {
    const { site, keys } = own;
    const weight = await changedWeight(base, own, values);
    if (keys.magnitude && site.kind === "linear") {
      const norms = rowNorms(weight, site.outDim);
      const magnitude = values.get(keys.magnitude);
      if (!magnitude) throw new ConfigError(`${where}: ${keys.magnitude} is missing`);
      for (let i = 0; i < weight.length; i++) {
        const row = Math.floor(i / site.inDim);
        weight[i] = weight[i]! * (magnitude[row]! / norms[row]!);
      }
    }
    merged.set(`${site.name}.weight`, Float32Array.from(weight));
  }
  for (const [name, key] of replaced) merged.set(name, values.get(key)!);
  return merged;
}

/** W + s B A in double precision, in the layout the base stores. */
async function changedWeight(
  base: Base,
  own: LoraSite,
  values: ReadonlyMap<string, Float32Array>,
): Promise<Float64Array> {
  const { site, r, scaling, keys } = own;
  const weight = Float64Array.from(await base.read(`${site.name}.weight`));
  if (scaling === 0) return weight;
  const [a, b] = [values.get(keys.a)!, values.get(keys.b)!];
  // Rows of the delta: outputs of a linear, vocabulary of an embedding.
  const [rows, columns] = site.kind === "embedding" ? [site.rows, site.columns] : [site.outDim, site.inDim];
  const isTransposed = site.kind === "linear" && site.fanInFanOut;
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let k = 0; k < r; k++)
        sum += site.kind === "embedding" ? b[c * r + k]! * a[k * rows + row]! : b[row * r + k]! * a[k * columns + c]!;
      const at = isTransposed ? c * rows + row : row * columns + c;
      weight[at] = weight[at]! + scaling * sum;
    }
  }
  return weight;
}

function rowNorms(weight: ArrayLike<number>, rows: number): Float32Array {
  const columns = weight.length / rows;
  return Float32Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let c = 0; c < columns; c++) sum += weight[r * columns + c]! ** 2;
    return Math.sqrt(sum);
  });
}
