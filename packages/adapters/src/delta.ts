/** What an adapter adds to each weight of its base, on the host. */
import { ConfigError } from "@graft/core/errors";
import type { ModuleSite } from "@graft/core/nn";
import type { LoadedAdapter } from "./adapter.ts";
import { type Matrix, matrix, multiply, norm, transposed } from "./linear-algebra.ts";
import { changesOf } from "./merge.ts";
import type { Base, LowRankChange } from "./method.ts";
import { valueOf } from "./replaced.ts";

export interface WeightDelta {
  /** The parameter of the base that it is added to. */
  readonly parameter: string;
  /** The module whose weight that is; undefined for a bias or the weight of a norm. */
  readonly site: ModuleSite | undefined;
  /** [out, in] for a linear layer, [rows, columns] for an embedding, [1, n] for a vector. */
  compute(): Promise<Matrix>;
}

/**
 * The change of every parameter that an adapter changes, each computed when asked for: s B A where that is all of it, else merged - base, which carries the rounding of merged weights to f32.
 * Throws ConfigError for a method that cannot be merged.
 */
export function deltasOf(adapter: LoadedAdapter, base: Base): WeightDelta[] {
  const { lowRank } = adapter.bound;
  if (lowRank && "changes" in lowRank) {
    return lowRank.changes.map((change) => ({
      parameter: `${change.site.name}.weight`,
      site: change.site,
      async compute() {
        const product = lowRankDelta(change, adapter.values);
        return change.site.kind === "embedding" ? transposed(product) : product;
      },
    }));
  }
  const sites = new Map<string, ModuleSite>(
    base.sites.flatMap((site) => (site.kind === "branch" ? [] : [[`${site.name}.weight`, site] as const])),
  );
  return [...changesOf(adapter)].map(([parameter, merged]) => {
    const site = sites.get(parameter);
    return {
      parameter,
      site,
      async compute() {
        const [before, after] = [await base.read(parameter), await merged()];
        const shape = base.shapeOf(parameter)!;
        const columns = shape.at(-1)!;
        const change = matrix(after.length / columns, columns);
        for (let i = 0; i < after.length; i++) change.data[i] = after[i]! - before[i]!;
        return site?.kind === "linear" && site.fanInFanOut ? transposed(change) : change;
      },
    };
  });
}

export interface DeltaNorm {
  readonly parameter: string;
  /** |delta|_F */
  readonly norm: number;
  /** |delta|_F / |weight|_F; undefined for a weight of zeros. */
  readonly relative: number | undefined;
}

/** How large an adapter's change of each weight is. Throws ConfigError for a method that cannot be merged. */
export async function deltaNorms(
  adapter: LoadedAdapter,
  base: Base,
  onWeight?: (done: number, total: number) => void,
): Promise<DeltaNorm[]> {
  const deltas = deltasOf(adapter, base);
  const norms: DeltaNorm[] = [];
  for (const [i, { parameter, compute }] of deltas.entries()) {
    const [size, whole] = [norm((await compute()).data), norm(await base.read(parameter))];
    norms.push({ parameter, norm: size, relative: whole > 0 ? size / whole : undefined });
    onWeight?.(i + 1, deltas.length);
  }
  return norms;
}

/** A and B in double precision. a: [r, in]; b: [out, r]. */
export function factorsOf(
  { r, a, b }: LowRankChange,
  values: ReadonlyMap<string, Float32Array>,
): { readonly a: Matrix; readonly b: Matrix } {
  const [ofA, ofB] = [valueOf(values, a, "adapter"), valueOf(values, b, "adapter")];
  return { a: matrix(r, ofA.length / r, ofA), b: matrix(ofB.length / r, r, ofB) };
}

/** s B A: [out, in]. */
export function lowRankDelta(change: LowRankChange, values: ReadonlyMap<string, Float32Array>): Matrix {
  const { a, b } = factorsOf(change, values);
  const product = multiply(b, a);
  return { ...product, data: product.data.map((x) => change.scaling * x) };
}

/** The adapter's changes as products of two tensors. Throws ConfigError, beginning with `where`, if it does more or something else. */
export function lowRankOf({ bound }: LoadedAdapter, where: string) {
  const { lowRank } = bound;
  if (lowRank && "changes" in lowRank) return lowRank;
  const reason = lowRank ? lowRank.impossible : `${bound.method} is no product of two matrices`;
  throw new ConfigError(
    `${where}: cannot be combined: ${reason}; \`graft adapters convert\` makes a LoRA of what can be merged`,
  );
}
