/** Which weights of a base are quantised, and how a folder says so. Schemes and formats: docs/quantisation.md. */
import { BLOCK, GROUP, type QuantizedType } from "@graft/kernels";
import { z } from "zod";
import { ConfigError, suggest, UnknownName } from "../errors/index.ts";
import { parseWith } from "../io/json.ts";
import type { ModelDefinition, ModelSizes } from "./model.ts";
import { sitesOf } from "./trace.ts";

export const quantizationMethods = ["int8", "nf4"] as const;
export type QuantizationMethod = (typeof quantizationMethods)[number];

export interface Quantization {
  readonly method: QuantizationMethod;
  /** Modules that stay as they are besides embeddings, norms, biases and the output layer: paths, or their beginnings or ends at a dot. */
  readonly skipModules: readonly string[];
}

/** Throws UnknownName, which begins with `where`, if nothing has that name. */
export function quantizationMethod(name: string, where: string): QuantizationMethod {
  const method = quantizationMethods.find((known) => known === name);
  if (method === undefined)
    throw new UnknownName(`${where}: unknown quantization "${name}"${suggest(name, quantizationMethods)}`);
  return method;
}

/**
 * Storage of each weight that is quantised, by its name in the checkpoint: those of linear layers, but for the output layer, what is tied to it or to an embedding, and
 * `skipModules`. A weight stored [in, out] has its int8 scales by column, so that there too a scale belongs to an output feature.
 * Throws UnknownName for a module to skip that is no linear layer.
 */
export function quantizedTypes(
  { definition, config }: { readonly definition: ModelDefinition; readonly config: ModelSizes },
  { method, skipModules }: Quantization,
  where: string,
): ReadonlyMap<string, QuantizedType> {
  const sites = sitesOf({ definition, config });
  const linear = sites.filter((site) => site.kind === "linear");
  const matches = (skip: string) => (name: string) =>
    name === skip || name.endsWith(`.${skip}`) || name.startsWith(`${skip}.`);
  for (const skip of skipModules) {
    if (linear.some(({ name }) => matches(skip)(name))) continue;
    const ends = new Set(linear.map(({ name }) => name.split(".").at(-1)!));
    throw new UnknownName(`${where}: module to skip "${skip}" is no linear layer of this model${suggest(skip, ends)}`);
  }
  const kept = new Set(
    sites.flatMap((site) => {
      if (site.kind === "embedding") return [`${site.name}.weight`];
      if (site.kind === "branch") return [];
      return site.isHead || skipModules.some((skip) => matches(skip)(site.name)) ? [site.weight] : [];
    }),
  );
  return new Map(
    linear
      .filter(({ weight }) => !kept.has(weight))
      .map(({ weight, fanInFanOut }) => [weight, method === "int8" && fanInFanOut ? "int8_columns" : method]),
  );
}

const QUANT_METHOD = "graft";

const schema = z.looseObject({
  format: z.string(),
  group_size: z.int().optional(),
  double_quant_group_size: z.int().optional(),
  modules_to_not_convert: z.array(z.string()).default([]),
});

/** The `quantization_config` of config.json that `readQuantization` reads. */
export function quantizationConfig({ method, skipModules }: Quantization): object {
  return {
    quant_method: QUANT_METHOD,
    format: method,
    ...(method === "nf4" ? { group_size: BLOCK, double_quant: true, double_quant_group_size: GROUP } : {}),
    modules_to_not_convert: skipModules,
  };
}

/**
 * How the weights of a folder are stored, from config.json; undefined if they are plain. Throws ConfigError for another program's format and for sizes that are not ours,
 * UnknownName for an unknown format.
 */
export function readQuantization(
  json: { readonly quantization_config?: unknown },
  where: string,
): Quantization | undefined {
  const raw = json.quantization_config;
  if (raw === undefined || raw === null) return undefined;
  const at = `${where}: quantization_config`;
  const { quant_method: by } = parseWith(z.looseObject({ quant_method: z.string().optional() }), raw, at);
  if (by !== QUANT_METHOD) {
    throw new ConfigError(
      `${at}: the weights are stored in the format of ${by === undefined ? "another program" : `"${by}"`}, which is not read; take the model they were made from, and --quantization int8 or nf4 (\`graft quantize\` writes it to disk once)`,
    );
  }
  const { format, group_size, double_quant_group_size, modules_to_not_convert } = parseWith(schema, raw, at);
  const method = quantizationMethod(format, at);
  if (method === "nf4") {
    for (const [name, given, known] of [
      ["group_size", group_size, BLOCK],
      ["double_quant_group_size", double_quant_group_size, GROUP],
    ] as const) {
      if (given !== known) throw new ConfigError(`${at}: ${name} is ${given ?? "not given"}, nf4 has ${known}`);
    }
  }
  return { method, skipModules: modules_to_not_convert };
}
