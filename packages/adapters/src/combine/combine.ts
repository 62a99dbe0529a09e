/** Weighted merges of adapters into one: PEFT 0.21's LoraModel.add_weighted_adapter. */
import { ConfigError } from "@graft/core/errors";
import type { ModuleSite } from "@graft/core/nn";
import { hashText, Random } from "@graft/core/random";
import { finishAdapter, type LoadedAdapter } from "../adapter.ts";
import { factorsOf, lowRankDelta, lowRankOf } from "../delta.ts";
import { type Matrix, matrix } from "../linear-algebra.ts";
import { loraOfFactors, type SiteFactors } from "../lora-of-factors.ts";
import type { Base, LowRankChange } from "../method.ts";
import { type Arithmetic, combineValues, type MajoritySignMethod } from "./_arithmetic.ts";
import { clampFactors, denseFactors, type Factors, productFactors } from "./_svd-factors.ts";

interface Rule extends Arithmetic {
  /** What is combined: A with A and B with B; the rows of A and columns of B side by side; or the products s B A, of which an SVD makes factors again. */
  readonly on: "factors" | "rows" | "products";
}

const rule = (on: Rule["on"], pruning: Rule["pruning"] = "none", electsSign = false): Rule => ({
  on,
  pruning,
  electsSign,
});

/** Every combination type, under PEFT's names. */
export const combinationTypes = {
  linear: rule("factors"),
  cat: rule("rows"),
  svd: rule("products"),
  ties: rule("factors", "magnitude", true),
  ties_svd: rule("products", "magnitude", true),
  dare_linear: rule("factors", "random"),
  dare_linear_svd: rule("products", "random"),
  dare_ties: rule("factors", "random", true),
  dare_ties_svd: rule("products", "random", true),
  magnitude_prune: rule("factors", "magnitude"),
  magnitude_prune_svd: rule("products", "magnitude"),
} satisfies Record<string, Rule>;
export type CombinationType = keyof typeof combinationTypes;

export interface CombinePart {
  /** What errors call it. */
  readonly name: string;
  readonly adapter: LoadedAdapter;
  /** May be negative: what the adapter does is then taken away. */
  readonly weight: number;
}

export interface CombineOptions {
  /** Default: svd, as in PEFT. */
  readonly combinationType?: CombinationType | undefined;
  /** Rank of the result of a type that ends in svd; default: the largest of the adapters. */
  readonly svdRank?: number | undefined;
  /** Quantile at which the factors of an SVD are cut. */
  readonly svdClamp?: number | undefined;
  /** Part of the values that pruning keeps; needed by every type that prunes. */
  readonly density?: number | undefined;
  /** Whether a sign is elected by the sum of the values or by their number. */
  readonly majoritySignMethod?: MajoritySignMethod | undefined;
  /** Of DARE's random pruning. */
  readonly seed?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onSite?: ((done: number, total: number) => void) | undefined;
}

/**
 * One LoRA (scaling 1) from several whose changes are s_i B_i A_i, with weights w_i. On every site that at least one of them has, over those that have it:
 * - on factors: A = C(sqrt|w_i s_i| sign(w_i s_i); A_i), B = C(sqrt|w_i s_i|; B_i), C being the type's sum (combineValues); all must have the same rank.
 * - cat: A = [w_i s_i A_i] below one another, B = [B_i] side by side, zeros up to the sum of all ranks.
 * - products: U S and V^T of the svdRank largest singular triplets of C(w_i; s_i B_i A_i).
 * One adapter alone is always combined linearly. Throws ConfigError for adapters that are no such products, of different bases, or of ranks that do not add; for options out of range.
 */
export async function combineAdapters(
  parts: readonly CombinePart[],
  base: Base,
  options: CombineOptions = {},
): Promise<LoadedAdapter> {
  if (parts.length === 0) throw new ConfigError("combine: no adapter is given");
  const type = parts.length === 1 ? "linear" : (options.combinationType ?? "svd");
  const how = combinationTypes[type];
  checkOptions(parts, type, options);
  const members = parts.map((part) => {
    const adapter = finishAdapter(part.adapter, base);
    const lowRank = lowRankOf(adapter, `adapter "${part.name}"`);
    checkSites(part.name, lowRank.changes, base);
    const bySite = new Map(lowRank.changes.map((change) => [change.site.name, change]));
    return { ...part, adapter, rank: lowRank.rank, bySite };
  });
  const ranks = members.map(({ rank }) => rank);
  if (how.on === "factors" && new Set(ranks).size > 1) {
    const each = members.map(({ name, rank }) => `"${name}" has ${rank}`).join(", ");
    throw new ConfigError(
      `combine: ${type} adds the factors of adapters of one rank, ${each}; take cat, svd or a type that ends in _svd`,
    );
  }
  const sites = base.sites.filter(
    (site): site is ModuleSite => site.kind !== "branch" && members.some(({ bySite }) => bySite.has(site.name)),
  );
  const settings = {
    ...how,
    type,
    rank: how.on === "rows" ? ranks.reduce((sum, r) => sum + r, 0) : (options.svdRank ?? Math.max(...ranks)),
    clamp: options.svdClamp,
    density: options.density ?? 1,
    majoritySignMethod: options.majoritySignMethod ?? "total",
    seed: options.seed ?? 0,
  };
  const factors: SiteFactors[] = [];
  for (const [i, site] of sites.entries()) {
    options.signal?.throwIfAborted();
    const own = members.flatMap(({ name, weight, adapter, bySite }, index) => {
      const change = bySite.get(site.name);
      return change ? [{ name, index, weight, change, values: adapter.values }] : [];
    });
    factors.push({ site, ...combineSite(site, own, settings) });
    options.onSite?.(i + 1, sites.length);
    // Others get their turn: a site of a large model takes seconds.
    await new Promise<void>((resume) => setImmediate(resume));
  }
  return loraOfFactors(factors, base, members[0]!.adapter.config);
}

interface Member {
  readonly name: string;
  readonly index: number;
  readonly weight: number;
  readonly change: LowRankChange;
  readonly values: ReadonlyMap<string, Float32Array>;
}

interface Settings extends Rule {
  readonly type: CombinationType;
  readonly rank: number;
  readonly clamp: number | undefined;
  readonly density: number;
  readonly majoritySignMethod: MajoritySignMethod;
  readonly seed: number;
}

function combineSite(site: ModuleSite, members: readonly Member[], settings: Settings): Factors {
  switch (settings.on) {
    case "factors":
      return combineFactors(site, members, settings);
    case "rows":
      return concatenate(members, settings.rank);
    case "products": {
      const factors = svdOfCombined(site, members, settings);
      return settings.clamp === undefined ? factors : clampFactors(factors, settings.clamp);
    }
    default:
      return settings.on satisfies never;
  }
}

function combineFactors(site: ModuleSite, members: readonly Member[], settings: Settings): Factors {
  const [first] = members;
  const other = members.find(({ change }) => change.r !== first!.change.r);
  if (other) {
    throw new ConfigError(
      `combine: ${settings.type} adds factors of one rank, on ${site.name} "${first!.name}" has ${first!.change.r} and "${other.name}" ${other.change.r}; take cat or a type that ends in svd`,
    );
  }
  const factors = members.map(({ change, values }) => factorsOf(change, values));
  const scales = members.map(({ weight, change }) => weight * change.scaling);
  // The sign goes into A alone: in both it would be lost.
  const weightsOf = {
    a: scales.map((x) => Math.sign(x) * Math.sqrt(Math.abs(x))),
    b: scales.map((x) => Math.sqrt(Math.abs(x))),
  };
  const combine = (part: "a" | "b"): Matrix => {
    const random = randomFor(`${site.name}.${part}`, members, settings.seed);
    const shape = factors[0]![part];
    return {
      ...shape,
      data: combineValues(
        factors.map((f) => f[part].data),
        weightsOf[part],
        { ...settings, random },
      ),
    };
  };
  return { a: combine("a"), b: combine("b") };
}

/** Stacked rows of w s A and columns of B, zeros up to `rank`. */
function concatenate(members: readonly Member[], rank: number): Factors {
  const factors = members.map(({ change, values }) => factorsOf(change, values));
  const [a, b] = [matrix(rank, factors[0]!.a.columns), matrix(factors[0]!.b.rows, rank)];
  let at = 0;
  for (const [i, own] of factors.entries()) {
    const scale = members[i]!.weight * members[i]!.change.scaling;
    a.data.set(
      own.a.data.map((x) => scale * x),
      at * a.columns,
    );
    for (let row = 0; row < b.rows; row++)
      b.data.set(own.b.data.subarray(row * own.b.columns, (row + 1) * own.b.columns), row * rank + at);
    at += own.a.rows;
  }
  return { a, b };
}

function svdOfCombined(site: ModuleSite, members: readonly Member[], settings: Settings): Factors {
  // A plain sum of products is itself one of a low rank.
  if (settings.pruning === "none" && !settings.electsSign) {
    const inner = members.reduce((sum, { change }) => sum + change.r, 0);
    return productFactors(concatenate(members, inner), settings.rank);
  }
  const deltas = members.map(({ change, values }) => lowRankDelta(change, values));
  const random = randomFor(site.name, members, settings.seed);
  const data = combineValues(
    deltas.map((delta) => delta.data),
    members.map(({ weight }) => weight),
    { ...settings, random },
  );
  return denseFactors({ ...deltas[0]!, data }, settings.rank, new Random(0, hashText(site.name)));
}

/** Draws that depend on the tensor and the adapter's place alone, not on what else is combined. */
function randomFor(tensor: string, members: readonly Member[], seed: number): (index: number) => Random {
  return (i) => new Random(seed, hashText(`${tensor} ${members[i]!.index}`));
}

function checkSites(name: string, changes: readonly LowRankChange[], base: Base): void {
  const sites = new Map(base.sites.map((site) => [site.name, site]));
  const sizes = (site: ModuleSite): string =>
    site.kind === "linear" ? `[${site.outDim}, ${site.inDim}]` : `[${site.rows}, ${site.columns}]`;
  for (const { site } of changes) {
    const known = sites.get(site.name);
    const found = known && known.kind !== "branch" ? sizes(known) : "not there";
    if (found === sizes(site)) continue;
    throw new ConfigError(
      `combine: adapter "${name}" is for another base: its ${site.name} is ${sizes(site)}, here it is ${found}`,
    );
  }
}

function checkOptions(parts: readonly CombinePart[], type: CombinationType, o: CombineOptions): void {
  const how = combinationTypes[type];
  for (const { name, weight } of parts)
    if (!Number.isFinite(weight)) throw new ConfigError(`combine: the weight of "${name}" is a number, not ${weight}`);
  if (how.pruning !== "none") {
    const { density } = o;
    if (density === undefined) throw new ConfigError(`combine: ${type} needs density, the part of the values it keeps`);
    if (!(density >= 0 && density <= 1)) throw new ConfigError(`combine: density is from 0 to 1, not ${density}`);
    if (how.pruning === "random" && density === 0)
      throw new ConfigError(`combine: ${type} divides by density, which must be above 0`);
  }
  if (how.on !== "products") return;
  if (o.svdRank !== undefined && !(Number.isInteger(o.svdRank) && o.svdRank >= 1))
    throw new ConfigError(`combine: svdRank is a whole number of at least 1, not ${o.svdRank}`);
  if (o.svdClamp !== undefined && !(o.svdClamp >= 0 && o.svdClamp <= 1))
    throw new ConfigError(`combine: svdClamp is a quantile from 0 to 1, not ${o.svdClamp}`);
}
