/** A case directory: what was computed elsewhere, and how close one must come. */
import { CheckpointError, UnknownName } from "@graft/core/errors";
import { openSafetensors, readJson, type SafetensorsFile, toFloat32, toIntegers } from "@graft/core/io";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";

const tolerance = z.looseObject({ atol: z.number().default(0), rtol: z.number().default(0) });
export const caseSchema = z.looseObject({
  id: z.string(),
  kind: z.string(),
  base: z.string().optional(),
  tolerance: z.record(z.string(), tolerance).or(tolerance).optional(),
});
export type CaseInfo = z.output<typeof caseSchema>;

export interface Case {
  readonly folder: string;
  readonly info: CaseInfo;
  readonly tensors: SafetensorsFile;
  /** Folder of the base model and its case. */
  readonly baseFolder: string;
}

const indexSchema = z.array(z.looseObject({ id: z.string(), dir: z.string() }));

/** Case folders of a path: itself, or every case of a kit. Throws CheckpointError if it is neither. */
export function caseFolders(path: string): string[] {
  if (existsSync(join(path, "case.json"))) return [path];
  const index = path.endsWith("index.json") ? path : join(path, "index.json");
  if (!existsSync(index)) throw new CheckpointError(`${path}: has neither case.json (a case) nor index.json (a kit)`);
  return readJson(index, indexSchema).map(({ dir }) => join(dirname(index), dir));
}

export function openCase(folder: string): Case {
  const info = readJson(join(folder, "case.json"), caseSchema);
  const tensors = openSafetensors(join(folder, "tensors.safetensors"));
  return { folder, info, tensors, baseFolder: info.base === undefined ? folder : findBase(folder, info.base) };
}

/** `base` is a path from the kit's root, which is some folder above the case. */
function findBase(folder: string, base: string): string {
  for (let at = resolve(folder); at !== dirname(at); at = dirname(at)) {
    if (existsSync(join(at, base, "config.json"))) return join(at, base);
  }
  throw new UnknownName(`${folder}: its base ${base} is not found in any folder above`);
}

/** An integer tensor. */
export function integers(file: SafetensorsFile, name: string): { data: Int32Array; shape: readonly number[] } {
  const { dtype, shape } = file.info(name);
  return { data: toIntegers(file.read(name), dtype, `${file.path}: ${name}`), shape };
}

/** A floating tensor in double precision. */
export function floats(file: SafetensorsFile, name: string): { data: Float64Array; shape: readonly number[] } {
  const { dtype, shape } = file.info(name);
  const bytes = file.read(name);
  if (dtype === "F64") return { data: new Float64Array(bytes.slice().buffer), shape };
  return { data: Float64Array.from(toFloat32(bytes, dtype, `${file.path}: ${name}`)), shape };
}

/** Where a case keeps `kind` (init, grad, final) of a parameter: under its key, or the name that files of other versions have for it. */
export function nameIn(kase: Case, kind: string, key: string, aliases?: ReadonlyMap<string, string>): string {
  const alias = aliases?.get(key);
  const [name, other] = [`${kind}/${key}`, `${kind}/${alias}`];
  return !kase.tensors.tensors.has(name) && kase.tensors.tensors.has(other) ? other : name;
}
