/** Any adapter that can be merged as a LoRA: truncated singular value decompositions of what it adds to each linear weight. */
import { ConfigError } from "@graft/core/errors";
import type { LinearSite } from "@graft/core/nn";
import { hashText, Random } from "@graft/core/random";
import type { LoadedAdapter } from "./adapter.ts";
import { deltasOf, type WeightDelta } from "./delta.ts";
import {
  type Matrix,
  multiply,
  norm,
  scaledRows,
  type Svd,
  svd,
  takeRows,
  topSvd,
  transposed,
} from "./linear-algebra.ts";
import { loraOfFactors, type SiteFactors } from "./lora-of-factors.ts";
import type { Base } from "./method.ts";

export interface ConvertOptions {
  /** Rank of every site; with `energy` the largest one. */
  readonly rank?: number | undefined;
  /** The smallest rank of each site that keeps this part of |delta|_F^2. */
  readonly energy?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onSite?: ((done: number, total: number) => void) | undefined;
}

export interface ConversionError {
  /** |delta - B A|_F / |delta|_F, of the factors as they are saved; 0 for a delta of zeros. */
  readonly relativeError: number;
  /** 1 - relativeError^2: the part of |delta|_F^2 that is kept. */
  readonly keptEnergy: number;
}

export interface ConvertedSite extends ConversionError {
  readonly site: string;
  readonly rank: number;
  /** |delta|_F */
  readonly norm: number;
}

export interface Conversion extends ConversionError {
  readonly adapter: LoadedAdapter;
  readonly sites: readonly ConvertedSite[];
}

/**
 * A LoRA near an adapter of any method that can be merged: on each linear site the best B A of its rank (Eckart & Young 1936), A = sqrt(S) V^T, B = U sqrt(S), with what is lost per site and
 * over all sites together. Throws ConfigError with the reason for an adapter that cannot be merged or changes something that is no weight of a linear layer, and for a rank or
 * energy out of range.
 */
export async function convertToLora(adapter: LoadedAdapter, base: Base, options: ConvertOptions): Promise<Conversion> {
  const { rank, energy, signal, onSite } = options;
  if (rank === undefined && energy === undefined) throw new ConfigError("convert: give rank or energy");
  if (rank !== undefined && !(Number.isInteger(rank) && rank >= 1))
    throw new ConfigError(`convert: rank is a whole number of at least 1, not ${rank}`);
  if (energy !== undefined && !(energy > 0 && energy <= 1))
    throw new ConfigError(`convert: energy is above 0 and at most 1, not ${energy}`);
  const deltas = deltasOf(adapter, base).map((delta) => ({ delta, site: linearSite(delta, adapter) }));
  if (energy === undefined) for (const { site } of deltas) checkRank(rank!, site);
  const factors: SiteFactors[] = [];
  const sites: ConvertedSite[] = [];
  let [lost, whole] = [0, 0];
  for (const [i, { delta, site }] of deltas.entries()) {
    signal?.throwIfAborted();
    const change = await delta.compute(); // [out, in]
    const found = rootFactors(truncatedSvd(change, options, new Random(0, hashText(site.name)), signal));
    const error = norm(difference(change, found));
    const size = norm(change.data);
    lost += error ** 2;
    whole += size ** 2;
    factors.push({ site, ...found });
    sites.push({ site: site.name, rank: found.a.rows, norm: size, ...errorOf(error, size) });
    onSite?.(i + 1, deltas.length);
    // Others get their turn, Ctrl-C too: a site of a large model takes seconds.
    await new Promise<void>((resume) => setImmediate(resume));
  }
  return {
    adapter: loraOfFactors(factors, base, adapter.config),
    sites,
    ...errorOf(Math.sqrt(lost), Math.sqrt(whole)),
  };
}

function errorOf(error: number, size: number): ConversionError {
  const relativeError = size === 0 ? 0 : error / size;
  return { relativeError, keptEnergy: 1 - relativeError ** 2 };
}

function linearSite({ parameter, site }: WeightDelta, { bound }: LoadedAdapter): LinearSite {
  if (site?.kind === "linear") return site;
  throw new ConfigError(
    `convert: ${bound.method} changes ${parameter}, which is no weight of a linear layer; a LoRA of linear layers cannot stand for that`,
  );
}

function checkRank(rank: number, { name, inDim, outDim }: LinearSite): void {
  const most = Math.min(inDim, outDim);
  if (rank > most)
    throw new ConfigError(`convert: rank is ${rank}, the [${outDim}, ${inDim}] weight of ${name} has rank ${most}`);
}

/** The triplets that the options ask for, at least one. */
function truncatedSvd(
  change: Matrix,
  { rank, energy }: ConvertOptions,
  random: Random,
  signal: AbortSignal | undefined,
): Svd {
  const most = Math.min(change.rows, change.columns, rank ?? Infinity);
  if (energy === undefined) return topSvd(change, most, random);
  const wanted = energy * norm(change.data) ** 2;
  for (let tried = Math.min(8, most); ; tried = Math.min(2 * tried, most)) {
    signal?.throwIfAborted();
    // Near the whole space the direct way is the shorter one.
    const isLarge = 2 * tried >= Math.min(change.rows, change.columns);
    const found = isLarge ? svd(change) : topSvd(change, tried, random);
    const needed = triplets(found, wanted);
    if (needed === undefined && tried < most && !isLarge) continue;
    const kept = Math.min(needed ?? found.s.length, most);
    return { ut: takeRows(found.ut, 0, kept), s: found.s.slice(0, kept), vt: takeRows(found.vt, 0, kept) };
  }
}

/** How many of the largest triplets hold `wanted` of the squares; undefined if all together do not. */
function triplets({ s }: Svd, wanted: number): number | undefined {
  let sum = 0;
  for (const [i, x] of s.entries()) {
    sum += x ** 2;
    if (sum >= wanted) return i + 1;
  }
  return undefined;
}

/** sqrt(S) V^T and U sqrt(S), rounded as they will be saved. */
function rootFactors({ ut, s, vt }: Svd): { readonly a: Matrix; readonly b: Matrix } {
  const roots = s.map(Math.sqrt);
  const rooted = (vectors: Matrix): Matrix => {
    const scaled = scaledRows(vectors, roots);
    return { ...scaled, data: scaled.data.map(Math.fround) };
  };
  return { a: rooted(vt), b: transposed(rooted(ut)) };
}

function difference(change: Matrix, { a, b }: { readonly a: Matrix; readonly b: Matrix }): Float64Array {
  const product = multiply(b, a);
  return change.data.map((x, at) => x - product.data[at]!);
}
