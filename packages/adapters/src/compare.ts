/** How two adapters differ: in their configs, tensor by tensor, and in what they add to each weight. */
import { isDeepStrictEqual } from "node:util";
import { toFloat32 } from "@graft/core/io";
import { openAdapterFile, type LoadedAdapter } from "./adapter.ts";
import { deltasOf } from "./delta.ts";
import { type Matrix, norm } from "./linear-algebra.ts";
import type { Base } from "./method.ts";

export interface Difference {
  readonly name: string;
  /** Only one of them has it, or their shapes differ: there are no numbers. */
  readonly only?: "a" | "b" | "shape";
  /** |a - b| / max(|a|, |b|), Frobenius; 0 where both are zero. */
  readonly relative?: number;
  /** a . b / (|a| |b|); undefined where one is zero. */
  readonly cosine?: number | undefined;
}

export interface FieldDifference {
  readonly field: string;
  readonly a: unknown;
  readonly b: unknown;
}

/** Fields whose values differ, one that is missing being undefined. */
export function compareConfigs(
  a: Readonly<Record<string, unknown>>,
  b: Readonly<Record<string, unknown>>,
): FieldDifference[] {
  const fields = [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted();
  return fields
    .filter((field) => !isDeepStrictEqual(a[field], b[field]))
    .map((field) => ({ field, a: a[field], b: b[field] }));
}

/** Tensor by tensor of two adapter folders. Throws CheckpointError. */
export async function compareTensors(a: string, b: string): Promise<Difference[]> {
  const files = [openAdapterFile(a), openAdapterFile(b)] as const;
  try {
    const [ofA, ofB] = files.map((file) => {
      const read = (name: string) => {
        const { dtype, shape } = file.info(name);
        return Promise.resolve({ shape, data: toFloat32(file.read(name), dtype, `${file.path}: tensor ${name}`) });
      };
      return new Map([...file.tensors.keys()].map((name) => [name, () => read(name)]));
    });
    return await compareAll(ofA!, ofB!);
  } finally {
    for (const file of files) file.close();
  }
}

/** Weight by weight, what each of two adapters adds to it. Throws ConfigError for a method that cannot be merged. */
export async function compareDeltas(
  a: LoadedAdapter,
  b: LoadedAdapter,
  base: Base,
  onWeight?: (done: number, total: number) => void,
): Promise<Difference[]> {
  const byName = (adapter: LoadedAdapter) =>
    new Map(deltasOf(adapter, base).map(({ parameter, compute }) => [parameter, () => valuesOf(compute())]));
  return compareAll(byName(a), byName(b), onWeight);
}

async function valuesOf(computed: Promise<Matrix>): Promise<Values> {
  const { rows, columns, data } = await computed;
  return { shape: [rows, columns], data };
}

interface Values {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}
type Readers = ReadonlyMap<string, () => Promise<Values>>;

async function compareAll(
  a: Readers,
  b: Readers,
  onEach?: (done: number, total: number) => void,
): Promise<Difference[]> {
  const names = [...new Set([...a.keys(), ...b.keys()])];
  const out: Difference[] = [];
  for (const [i, name] of names.entries()) {
    const [inA, inB] = [a.get(name), b.get(name)];
    out.push(inA && inB ? compareOne(name, await inA(), await inB()) : { name, only: inA ? "a" : "b" });
    onEach?.(i + 1, names.length);
  }
  return out;
}

function compareOne(name: string, a: Values, b: Values): Difference {
  if (`${a.shape}` !== `${b.shape}`) return { name, only: "shape" };
  let [dot, apart] = [0, 0];
  for (let i = 0; i < a.data.length; i++) {
    dot += a.data[i]! * b.data[i]!;
    apart += (a.data[i]! - b.data[i]!) ** 2;
  }
  const [ofA, ofB] = [norm(a.data), norm(b.data)];
  const larger = Math.max(ofA, ofB);
  return {
    name,
    relative: larger === 0 ? 0 : Math.sqrt(apart) / larger,
    cosine: ofA > 0 && ofB > 0 ? dot / (ofA * ofB) : undefined,
  };
}
