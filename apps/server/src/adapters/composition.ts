/** Adapters made of published ones, by `{"average": ["a", "b"], "weights": [0.7, 0.3]}` and its like. */
import {
  type Base,
  composeAdapters,
  finishAdapter,
  type LoadedAdapter,
  methodsByName,
  readAdapter,
  writeAdapterFiles,
} from "@graft/adapters";
import { z } from "zod";
import type { VersionRow, VersionSource } from "../db/index.ts";
import { ApiError } from "../errors.ts";
import type { Fill } from "./adapter-files.ts";

/** Methods that are made of other adapters, with the fields of their configs. */
const compositions = [...methodsByName.values()].flatMap(({ name, peftType, config }) =>
  config instanceof z.ZodObject && "adapters" in config.shape
    ? [{ name, peftType, takesWeights: "weights" in config.shape }]
    : [],
);
const MAX_PARTS = 32;
const partNames = z.array(z.string().min(1)).min(1).max(MAX_PARTS).optional();

export const compositionSchema = z
  .strictObject({
    weights: z.array(z.number()).nullish().describe("average: one for each adapter; default: the same for all"),
  })
  .extend(Object.fromEntries(compositions.map(({ name }) => [name, partNames])) as Record<string, typeof partNames>)
  .meta({ description: `Names of adapters under one of ${compositions.map(({ name }) => name).join(", ")}` });

export interface Composition {
  readonly method: (typeof compositions)[number];
  /** Of adapters; one may stand several times. */
  readonly names: readonly string[];
  readonly weights: readonly number[] | undefined;
}

/** Throws ApiError 400 that names the field. */
export function compositionOf(asked: z.output<typeof compositionSchema>): Composition {
  const param = "from.compose";
  const { weights: given, ...fields } = asked as Readonly<Record<string, unknown>> & { weights?: number[] | null };
  const [method, ...more] = compositions.filter(({ name }) => fields[name] !== undefined);
  if (!method || more.length > 0)
    throw new ApiError(400, `${param}: give one of ${compositions.map(({ name }) => name).join(", ")}`, { param });
  const names = fields[method.name] as readonly string[];
  const weights = given ?? undefined;
  if (weights && !method.takesWeights)
    throw new ApiError(400, `${param}.weights: ${method.name} takes no weights`, { param: `${param}.weights` });
  if (weights && weights.length !== names.length)
    throw new ApiError(400, `${param}.weights: there are ${names.length} adapters and ${weights.length} weights`, {
      param: `${param}.weights`,
    });
  return { method, names, weights };
}

/** Which versions it is made of: what is published under those names later changes nothing in it. */
export function sourceOf({ method, weights }: Composition, parts: readonly VersionRow[]): VersionSource {
  const of = parts.map(({ adapter, number }, i) => ({
    adapter,
    version: number,
    weight: weights?.[i] ?? (method.takesWeights ? 1 / parts.length : 1),
  }));
  return { type: "compose", of, how: method.name };
}

/** Writes the composition of the adapters in these folders. Throws what composing them throws. */
export function composedFiles(
  { method, names, weights }: Composition,
  folders: readonly string[],
  base: Base,
  basePath: string,
): Fill {
  return async (folder) => {
    const parts: Record<string, LoadedAdapter> = {};
    for (const [i, from] of folders.entries()) parts[partName(names, i)] = await readAdapter(from, base);
    const settings = {
      peft_type: method.peftType,
      base_model_name_or_path: basePath,
      ...(weights ? { weights } : {}),
    };
    const whole = await composeAdapters(settings, parts, base, {}, method.name);
    await writeAdapterFiles(folder, finishAdapter(whole, base), base);
  };
}

/** Parts are words in the file; numbered, so that two names that make one word are told apart. */
function partName(names: readonly string[], i: number): string {
  const word = names[i]!.replaceAll(/[^\w-]/g, "_");
  return names.some((other, j) => j !== i && other.replaceAll(/[^\w-]/g, "_") === word) ? `${word}-${i + 1}` : word;
}
