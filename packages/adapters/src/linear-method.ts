/** Methods that adapt single linear layers: what each says of one site, bound to all the sites that a config selects. */
import type { Tensor } from "@graft/core/graph";
import type { Hooks, LinearSite } from "@graft/core/nn";
import { dropout, matmul } from "@graft/core/ops";
import { hashText, Random } from "@graft/core/random";
import type { z } from "zod";
import { savedModules } from "./base-parameters.ts";
import { type Matrix, matrix, transposed } from "./linear-algebra.ts";
import {
  type Base,
  type BoundMethod,
  type ConfigOrigin,
  defineMethod,
  type Method,
  type ShapeInFile,
} from "./method.ts";
import { keyOf, olderBiasKeys, replacing, savedBaseOf, valueOf, wrappedBiases } from "./replaced.ts";
import type { Start } from "./starts.ts";
import { attentionTargets, chosenLinears, type DefaultTargets, type TargetConfig } from "./target-config.ts";

/** One pass through an adapted layer. */
export interface LinearCall {
  /** [tokens, in] */
  readonly x: Tensor;
  /** The layer: [tokens, in] to [tokens, out]. */
  readonly f: (x: Tensor) => Tensor;
  /** The layer without its bias. */
  readonly multiply: (x: Tensor) => Tensor;
  /** x with a share p of its entries dropped in training. */
  readonly drop: (x: Tensor, p: number) => Tensor;
}

/** A method at one site; `Shared` names what it reads of the tensors that all sites share. */
export interface LinearAdapter<P extends string = string, Shared extends string = never> {
  /** Trained, by the end of the key in PEFT's files. */
  readonly parameters: Readonly<Record<P, Start>>;
  /** [tokens, out] */
  apply(call: LinearCall, p: Readonly<Record<P | Shared, Tensor>>): Tensor;
  /** The weight [out, in] that alone does the same. A parameter of more than two dimensions is a matrix by its first one. */
  merge(weight: Matrix, p: Readonly<Record<P | Shared, Matrix>>): Matrix;
  /** The bias that goes with it, where it is another than before. */
  mergeBias?(bias: Float32Array, p: Readonly<Record<P, Matrix>>): Float32Array;
}

/** A frozen tensor that all sites read, under `base_model.NAME`. */
export interface SharedStart extends Start {
  /** A file need not hold it: it comes out the same from the config. */
  readonly isDerived: boolean;
}

export interface Binding {
  readonly base: Base;
  readonly where: string;
  readonly origin: ConfigOrigin;
  /** Shape of a tensor in the file that is being read. */
  readonly shapeInFile: ShapeInFile;
}

type LinearConfig = TargetConfig & { readonly bias?: string };

export interface LinearMethod<C extends LinearConfig> {
  readonly name: string;
  readonly peftType: string;
  readonly sizeFields?: readonly string[];
  readonly config: z.ZodType<C>;
  readonly tiny: Readonly<Record<string, unknown>>;
  readonly defaultTargets?: DefaultTargets;
  /** A fresh adapter of this config leaves the base's function as it is. */
  startsAsIdentity(config: C): boolean;
  /** Throws ConfigError, beginning with `where`, for what the method does not do. */
  check?(config: C, binding: Binding): void;
  /** By name; `at` finds them among its parameters. */
  shared?(config: C, sites: readonly LinearSite[], binding: Binding): Readonly<Record<string, SharedStart>>;
  at(site: LinearSite, config: C, binding: Binding): LinearAdapter;
}

export function defineLinearMethod<C extends LinearConfig>(method: LinearMethod<C>): Method<C> {
  return defineMethod<C>({
    name: method.name,
    peftType: method.peftType,
    sizeFields: method.sizeFields,
    tiny: method.tiny,
    config: method.config,
    bind: (config, base, where, origin, shapeInFile = () => undefined) =>
      bindLinear(method, config, { base, where, origin, shapeInFile }),
  });
}

interface BoundSite {
  readonly site: LinearSite;
  readonly adapter: LinearAdapter;
  /** Name in the adapter to key in the file, shared ones included. */
  readonly keys: Readonly<Record<string, string>>;
}

/** A method at all the sites of a config. Throws UnknownName or ConfigError, beginning with `where`. */
export function bindLinear<C extends LinearConfig>(method: LinearMethod<C>, config: C, binding: Binding): BoundMethod {
  const { base, where, origin } = binding;
  method.check?.(config, binding);
  const options = { defaults: method.defaultTargets ?? attentionTargets, origin, where };
  const linears = chosenLinears(method.name, config, base, options);
  const shared = Object.entries(method.shared?.(config, linears, binding) ?? {}).map(([name, start]) => ({
    name,
    key: `base_model.${name}`,
    ...start,
  }));
  const sharedKeys = shared.map(({ name, key }) => [name, key] as const);
  const sites = linears.map((site): BoundSite => {
    const adapter = method.at(site, config, binding);
    const own = Object.keys(adapter.parameters).map((name) => [name, `${keyOf(site.name)}.${name}`] as const);
    return { site, adapter, keys: Object.fromEntries([...own, ...sharedKeys]) };
  });
  const starts = sites.flatMap(({ adapter, keys }) =>
    Object.entries(adapter.parameters).map(([name, start]) => ({ key: keys[name]!, ...start })),
  );
  const biases = wrappedBiases(config.bias ?? "none", base, new Set(linears.map(({ name }) => name)));
  const whole = replacing(
    new Map([...biases, ...savedModules(config.modules_to_save ?? [], base, where)]),
    base,
    where,
  );
  const derived = shared.filter(({ isDerived }) => isDerived);
  const parameters = [
    ...starts.map(({ key, shape }) => ({ key, shape, trainable: !shape.includes(0) })),
    ...shared.map(({ key, shape }) => ({ key, shape, trainable: false })),
    ...whole.parameters,
  ];
  const shapes = new Map(parameters.map(({ key, shape }) => [key, shape]));
  return {
    method: method.name,
    startsAsIdentity: method.startsAsIdentity(config),
    parameters,
    savedBase: savedBaseOf(linears),
    aliases: olderBiasKeys(biases),
    derived: new Map(derived.map(({ key, init }) => [key, () => init(new Random(0))])),
    async initialise(random) {
      const values = new Map([...starts, ...shared].map(({ key, init }) => [key, init(random)]));
      await whole.initialise(values);
      return values;
    },
    hooks: ({ parameter, seed }) => ({ parameter: whole.hook(parameter), linear: linearHook(sites, parameter, seed) }),
    merge: (values) =>
      new Map([
        ...mergeLinear(base, sites, (key) => readMatrix(values, key, shapes.get(key)!, where)),
        ...whole.merge(values),
      ]),
  };
}

function readMatrix(
  values: ReadonlyMap<string, Float32Array>,
  key: string,
  shape: readonly number[],
  where: string,
): Matrix {
  const data = valueOf(values, key, where);
  const rows = shape[0]!;
  return matrix(rows, rows === 0 ? 0 : data.length / rows, data);
}

function linearHook(
  sites: readonly BoundSite[],
  parameter: (key: string) => Tensor,
  seed: Tensor | undefined,
): NonNullable<Hooks["linear"]> {
  const bySite = new Map(sites.map((own) => [own.site.name, own]));
  return (site, x, f, weight) => {
    const own = bySite.get(site.name);
    if (!own) return f(x);
    const call: LinearCall = {
      x,
      f,
      multiply: (input) => matmul(input, weight, { transB: !site.fanInFanOut }),
      drop: (input, p) => (seed ? dropout(input, seed, { p, stream: hashText(site.name) }) : input),
    };
    return own.adapter.apply(call, mapValues(own.keys, parameter));
  };
}

function mergeLinear(
  base: Base,
  sites: readonly BoundSite[],
  read: (key: string) => Matrix,
): Map<string, () => Promise<Float32Array>> {
  const merged = new Map<string, () => Promise<Float32Array>>();
  for (const { site, adapter, keys } of sites) {
    const turned = (m: Matrix): Matrix => (site.fanInFanOut ? transposed(m) : m);
    merged.set(`${site.name}.weight`, async () => {
      const stored = await base.read(`${site.name}.weight`);
      const weight = site.fanInFanOut
        ? transposed(matrix(site.inDim, site.outDim, stored))
        : matrix(site.outDim, site.inDim, stored);
      return Float32Array.from(turned(adapter.merge(weight, mapValues(keys, read))).data);
    });
    if (site.hasBias && adapter.mergeBias) {
      const name = `${site.name}.bias`;
      merged.set(name, async () => adapter.mergeBias!(await base.read(name), mapValues(keys, read)));
    }
  }
  return merged;
}

function mapValues<T>(keys: Readonly<Record<string, string>>, f: (key: string) => T): Record<string, T> {
  return Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, f(key)]));
}
