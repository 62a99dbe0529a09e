/** Weighted merges against PEFT 0.21 itself (fixtures/combine.py) and against sums written out by hand. */
import { beforeAll, expect, test } from "bun:test";
import type { LinearSite } from "@graft/core/nn";
import { Random } from "@graft/core/random";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { combineValues, pruneAtRandom, pruneByMagnitude, quantile } from "../src/combine/_arithmetic.ts";
import { clampFactors } from "../src/combine/_svd-factors.ts";
import { type CombineOptions, combineAdapters, type CombinationType, createAdapter } from "../src/index.ts";
import type { AdapterConfig, LoadedAdapter } from "../src/index.ts";
import { matrix, multiply } from "../src/linear-algebra.ts";
import { tinyBase } from "./tiny-base.ts";

interface FixtureCase {
  readonly adapters: string[];
  readonly weights: number[];
  readonly combination_type: CombinationType;
  readonly options: {
    readonly density?: number;
    readonly majority_sign_method?: "total" | "frequency";
    readonly svd_rank?: number;
    readonly svd_clamp?: number;
  };
  readonly r: number;
  readonly lora_alpha: number;
  readonly target_modules: string[];
  readonly first: Record<string, number[]>;
  readonly second?: Record<string, number[]>;
}
const fixture = JSON.parse(readFileSync(join(import.meta.dir, "fixtures/combine.json"), "utf8")) as {
  readonly shapes: Record<string, [rows: number, columns: number]>;
  readonly adapters: Record<string, [r: number, alpha: number, targets: string[]]>;
  readonly cases: FixtureCase[];
};
const base = tinyBase(fixture.shapes);
const keys = (name: string) => ({
  a: `base_model.model.${name}.lora_A.weight`,
  b: `base_model.model.${name}.lora_B.weight`,
});

const adapters = new Map<string, LoadedAdapter>();
beforeAll(async () => {
  let t = 0;
  for (const [name, [r, alpha, targets]] of Object.entries(fixture.adapters)) {
    const adapter = await lora({ r, lora_alpha: alpha, target_modules: targets });
    for (const target of targets) {
      const [rows, columns] = fixture.shapes[target]!;
      const { a, b } = keys(target);
      adapter.values.set(a, sines(r, columns, 0.7, t));
      adapter.values.set(b, sines(rows, r, 0.9, t + 1));
      t += 2;
    }
    adapters.set(name, adapter);
  }
});

const lora = (changes: object): Promise<LoadedAdapter> =>
  createAdapter({ peft_type: "LORA", ...changes } as AdapterConfig, base, 1);

function sines(rows: number, columns: number, factor: number, t: number): Float32Array {
  const row = (at: number): number => Math.floor(at / columns);
  return Float32Array.from({ length: rows * columns }, (_, at) =>
    Math.sin(factor * (row(at) + 1) * ((at % columns) + 2) + 0.31 * row(at) + t),
  );
}

function combine(names: readonly string[], weights: readonly number[], options: CombineOptions) {
  const parts = names.map((name, i) => ({ name, adapter: adapters.get(name)!, weight: weights[i]! }));
  return combineAdapters(parts, base, options);
}

function expectNear(got: ArrayLike<number>, want: readonly number[], tolerance = 2e-6): void {
  expect(got.length).toBe(want.length);
  for (const [i, x] of want.entries()) expect(Math.abs(got[i]! - x)).toBeLessThan(tolerance);
}

const product = (a: ArrayLike<number>, b: ArrayLike<number>, r: number): Float64Array =>
  multiply(matrix(b.length / r, r, b), matrix(r, a.length / r, a)).data;

test.each(
  fixture.cases.map((c) => [`${c.combination_type} of ${c.adapters} ${JSON.stringify(c.options)} ${c.weights}`, c]),
)("%s is what PEFT makes of it", async (_, c) => {
  const { density, majority_sign_method, svd_rank, svd_clamp } = c.options;
  const combined = await combine(c.adapters, c.weights, {
    combinationType: c.combination_type,
    density,
    majoritySignMethod: majority_sign_method,
    svdRank: svd_rank,
    svdClamp: svd_clamp,
  });
  expect(combined.config).toMatchObject({ r: c.r, lora_alpha: c.lora_alpha, target_modules: c.target_modules });
  for (const name of c.target_modules as ("first" | "second")[]) {
    const want = c[name]!;
    const { a, b } = keys(name);
    const [gotA, gotB] = [combined.values.get(a)!, combined.values.get(b)!];
    if (want.a_before) {
      // Singular vectors have arbitrary signs, and the quantile sees them: PEFT's own factors are cut.
      const [rows, columns] = fixture.shapes[name]!;
      const cut = clampFactors(
        { a: matrix(c.r, columns, want.a_before), b: matrix(rows, c.r, want.b_before!) },
        svd_clamp!,
      );
      expectNear(cut.a.data, want.a!);
      expectNear(cut.b.data, want.b!);
      expect(Math.max(...gotA.map(Math.abs))).toBeLessThan(Math.max(...want.a_before.map(Math.abs)));
    } else if (want.product) {
      expectNear(product(gotA, gotB, c.r), want.product);
    } else {
      expectNear(gotA, want.a!);
      expectNear(gotB, want.b!);
    }
  }
});

test("a product of singular vectors is U S and V^T: the rows of A are orthonormal", async () => {
  const combined = await combine(["x", "y"], [0.7, 0.3], { combinationType: "svd", svdRank: 3 });
  const a = matrix(3, 5, combined.values.get(keys("first").a)!);
  for (let i = 0; i < 3; i++)
    for (let j = 0; j < 3; j++) {
      let sum = 0;
      for (let k = 0; k < 5; k++) sum += a.data[i * 5 + k]! * a.data[j * 5 + k]!;
      expect(Math.abs(sum - (i === j ? 1 : 0))).toBeLessThan(1e-6);
    }
});

test("pruning keeps the largest magnitudes, of equal ones the first; a share of zero keeps none", () => {
  const x = Float64Array.of(3, -1, 2, -2, 0.5);
  expect([...pruneByMagnitude(x, 0.5)]).toEqual([3, 0, 2, 0, 0]);
  expect([...pruneByMagnitude(x, 0.8)]).toEqual([3, -1, 2, -2, 0]);
  expect([...pruneByMagnitude(x, 0)]).toEqual([0, 0, 0, 0, 0]);
});

test("the elected sign is that of the unweighted values; those that agree are averaged, zeros do not count", () => {
  const tensors = [Float64Array.of(1, -3, 2, 0), Float64Array.of(2, 1, -1, 0), Float64Array.of(-1, 1, -0.5, 4)];
  const settings = { pruning: "none", electsSign: true, density: 1, random: () => new Random(0) } as const;
  const by = (majoritySignMethod: "total" | "frequency") =>
    combineValues(tensors, [1, 10, 100], { ...settings, majoritySignMethod });
  // total: +, -, +, +; frequency: +, +, -, +.
  expect([...by("total")]).toEqual([(1 + 20) / 2, -3, 2, 400]);
  expect([...by("frequency")]).toEqual([(1 + 20) / 2, (10 + 100) / 2, (-10 - 50) / 2, 400]);
});

test("random pruning keeps its share, the expectation and what the seed says", () => {
  const x = new Float64Array(20_000).fill(1);
  const pruned = pruneAtRandom(x, 0.3, new Random(7));
  const kept = pruned.filter((value) => value !== 0);
  // 6000 expected, with a deviation of 65.
  expect(Math.abs(kept.length - 6000)).toBeLessThan(400);
  expect(new Set(kept)).toEqual(new Set([1 / 0.3]));
  expect(pruneAtRandom(x, 0.3, new Random(7))).toEqual(pruned);
});

test("DARE draws by the seed, for each tensor anew", async () => {
  const options = { combinationType: "dare_linear", density: 0.5 } as const;
  const [one, same, other] = await Promise.all(
    [3, 3, 4].map((seed) => combine(["x", "y"], [0.7, 0.3], { ...options, seed })),
  );
  expect(same!.values).toEqual(one!.values);
  expect(other!.values).not.toEqual(one!.values);
  // Each value of A is a sum of kept parts, at twice their weight.
  const { a } = keys("first");
  const weights = [0.7 * 1.5, 0.3 * 2.5].map(Math.sqrt);
  for (const [i, value] of one!.values.get(a)!.entries()) {
    const [x, y] = ["x", "y"].map((name, n) => 2 * weights[n]! * adapters.get(name)!.values.get(a)![i]!);
    expect(Math.min(...[0, x!, y!, x! + y!].map((sum) => Math.abs(sum - value)))).toBeLessThan(1e-6);
  }
});

test("a quantile is linear between neighbours", () => {
  expect(quantile(Float64Array.of(4, 1, 3, 2), 0.5)).toBe(2.5);
  expect(quantile(Float64Array.of(4, 1, 3, 2), 1)).toBe(4);
});

test("rsLoRA's scaling goes into the factors: the result is the weighted sum of what the adapters do", async () => {
  const rs = await lora({ r: 2, lora_alpha: 3, use_rslora: true, target_modules: ["first"] });
  rs.values.set(keys("first").b, sines(6, 2, 1, 0));
  const alone = await combineAdapters([{ name: "rs", adapter: rs, weight: 0.5 }], base);
  expect(alone.config).toMatchObject({ r: 2, lora_alpha: 2, use_rslora: false });
  const { a, b } = keys("first");
  const scaled = product(rs.values.get(a)!, rs.values.get(b)!, 2).map((x) => (0.5 * 3 * x) / Math.sqrt(2));
  expectNear(product(alone.values.get(a)!, alone.values.get(b)!, 2), [...scaled]);
});

test("patterns of rank are kept where the sites agree, and named where they do not", async () => {
  const config = { r: 3, lora_alpha: 3, target_modules: ["first", "second"] };
  const [p, q] = await Promise.all([
    lora({ ...config, rank_pattern: { second: 2 } }),
    lora({ ...config, rank_pattern: { second: 2 }, alpha_pattern: { first: 6 } }),
  ]);
  const parts = (adapter: LoadedAdapter) => [
    { name: "p", adapter: p!, weight: 1 },
    { name: "q", adapter, weight: 1 },
  ];
  const combined = await combineAdapters(parts(q!), base, { combinationType: "linear" });
  expect(combined.config).toMatchObject({ r: 3, rank_pattern: { second: 2 }, alpha_pattern: { second: 2 } });
  const plain = await lora(config);
  await expect(combineAdapters(parts(plain), base, { combinationType: "linear" })).rejects.toThrow(
    'combine: linear adds factors of one rank, on second "p" has 2 and "q" 3; take cat or a type that ends in svd',
  );
});

test("what cannot be combined is refused with the reason", async () => {
  const two = (options: CombineOptions, weights = [1, 1]) => combine(["x", "y"], weights, options);
  await expect(combineAdapters([], base)).rejects.toThrow("combine: no adapter is given");
  await expect(combine(["x", "z"], [1, 1], { combinationType: "ties", density: 0.5 })).rejects.toThrow(
    'combine: ties adds the factors of adapters of one rank, "x" has 2, "z" has 3; take cat, svd or a type that ends in _svd',
  );
  await expect(two({ combinationType: "ties" })).rejects.toThrow("ties needs density");
  await expect(two({ combinationType: "ties", density: -0.1 })).rejects.toThrow("density is from 0 to 1, not -0.1");
  await expect(two({ combinationType: "dare_ties", density: 0 })).rejects.toThrow("which must be above 0");
  await expect(two({ combinationType: "svd", svdRank: 0 })).rejects.toThrow("svdRank is a whole number of at least 1");
  await expect(two({ combinationType: "svd", svdClamp: 2 })).rejects.toThrow("svdClamp is a quantile from 0 to 1");
  await expect(two({}, [1, NaN])).rejects.toThrow('the weight of "y" is a number, not NaN');
  const other = tinyBase({ first: [6, 9] });
  const wide = await createAdapter({ peft_type: "LORA", target_modules: ["first"] }, other, 1);
  await expect(
    combineAdapters(
      [
        { name: "x", adapter: adapters.get("x")!, weight: 1 },
        { name: "wide", adapter: wide, weight: 1 },
      ],
      base,
    ),
  ).rejects.toThrow('adapter "wide" is for another base: its first is [6, 9], here it is [6, 5]');
  const refused = async (config: object, reason: string) => {
    const adapter = await lora({ target_modules: ["first"], ...config });
    await expect(combineAdapters([{ name: "n", adapter, weight: 1 }], base)).rejects.toThrow(
      `adapter "n": cannot be combined: ${reason}`,
    );
  };
  await refused({ use_dora: true }, "use_dora has magnitudes beside A and B");
  await refused({ modules_to_save: ["second"] }, "modules_to_save and bias replace parameters of the base");
  const loha = await createAdapter({ peft_type: "LOHA", target_modules: ["first"] }, base, 1);
  await expect(combineAdapters([{ name: "h", adapter: loha, weight: 1 }], base)).rejects.toThrow(
    'adapter "h": cannot be combined: loha is no product of two matrices; `graft adapters convert` makes a LoRA',
  );
});

test("a site that is stored [in, out] is combined like any other", async () => {
  const turned = tinyBase(fixture.shapes, { fanInFanOut: true });
  expect((turned.sites[0] as LinearSite).fanInFanOut).toBe(true);
  const parts = await Promise.all(
    ["x", "y"].map(async (name) => ({
      name,
      weight: 0.5,
      adapter: {
        ...(await createAdapter({ ...adapters.get(name)!.config, r: 2 }, turned, 1)),
        values: adapters.get(name)!.values,
      },
    })),
  );
  const options = { combinationType: "ties_svd", density: 0.6, svdRank: 5 } as const;
  const [here, there] = [await combineAdapters(parts, turned, options), await combine(["x", "y"], [0.5, 0.5], options)];
  expect(here.config.fan_in_fan_out).toBe(true);
  const { a, b } = keys("first");
  const of = (adapter: LoadedAdapter) => product(adapter.values.get(a)!, adapter.values.get(b)!, 5);
  expectNear(of(here), [...of(there)]);
});
