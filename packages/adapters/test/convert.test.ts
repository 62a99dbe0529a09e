/** Conversion to LoRA by truncated SVD, on weights alone. */
import { expect, test } from "bun:test";
import { convertToLora, createAdapter, type LoadedAdapter } from "../src/index.ts";
import { deltasOf } from "../src/delta.ts";
import { matrix, multiply, norm, svd } from "../src/linear-algebra.ts";
import { tinyBase } from "./tiny-base.ts";

const base = tinyBase({ first: [12, 10], second: [8, 12] });
const targets = { target_modules: ["first", "second"] };

/** An adapter away from its start. */
async function moved(config: { peft_type: string; [field: string]: unknown }, on = base): Promise<LoadedAdapter> {
  const adapter = await createAdapter({ ...targets, ...config }, on, 5);
  for (const [n, values] of [...adapter.values.values()].entries())
    for (let i = 0; i < values.length; i++) values[i] = values[i]! + 0.3 * Math.sin(i * (n + 1.7) + n);
  return adapter;
}

const cases: Record<string, { peft_type: string; [field: string]: unknown }> = {
  "a LoHa": { peft_type: "LOHA", r: 3 },
  "a LoKr": { peft_type: "LOKR", r: 2 },
  "an AdaLoRA": { peft_type: "ADALORA", init_r: 4, target_r: 2, total_step: 10, tinit: 1, tfinal: 1 },
  "an OFT": { peft_type: "OFT", r: 0, oft_block_size: 2 },
  "a BOFT": { peft_type: "BOFT", boft_block_size: 2 },
  "an IA3": { peft_type: "IA3", feedforward_modules: ["second"] },
  "a DoRA": { peft_type: "LORA", r: 2, use_dora: true },
  "a LoRA of a larger rank": { peft_type: "LORA", r: 6 },
};

test.each(Object.entries(cases))(
  "%s of full rank is the same change; a smaller one is the best of its rank",
  async (_, config) => {
    const adapter = await moved(config);
    const full = await convertToLora(adapter, base, { rank: 8 });
    const cut = await convertToLora(adapter, base, { rank: 2 });
    expect(cut.adapter.config).toMatchObject({ peft_type: "LORA", r: 2, lora_alpha: 2, ...targets, rank_pattern: {} });
    let [lost, whole] = [0, 0];
    for (const [i, delta] of deltasOf(adapter, base).entries()) {
      const change = await delta.compute();
      const { s } = svd(change);
      const tail = norm(s.slice(2));
      const site = cut.sites[i]!;
      expect(site).toMatchObject({ site: delta.site!.name, rank: 2 });
      expect(Math.abs(site.norm - norm(s))).toBeLessThan(1e-6 * norm(s));
      // Eckart & Young: what no matrix of rank 2 can be nearer than. Factors are rounded to f32.
      expect(Math.abs(site.relativeError - tail / norm(s))).toBeLessThan(1e-6);
      expect(Math.abs(site.keptEnergy - (1 - (tail / norm(s)) ** 2))).toBeLessThan(1e-6);
      const own = (await deltasOf(cut.adapter, base)[i]!.compute()).data;
      const error = norm(own.map((x, at) => x - change.data[at]!));
      expect(Math.abs(error / norm(s) - site.relativeError)).toBeLessThan(1e-9);
      const eight = (await deltasOf(full.adapter, base)[i]!.compute()).data;
      const rest = norm(s.slice(8));
      expect(Math.abs(norm(eight.map((x, at) => x - change.data[at]!)) - rest)).toBeLessThan(
        1e-6 * norm(s) + 1e-6 * rest,
      );
      lost += tail ** 2;
      whole += norm(s) ** 2;
    }
    expect(Math.abs(cut.relativeError - Math.sqrt(lost / whole))).toBeLessThan(1e-6);
  },
);

test("an energy takes the smallest rank of each site that keeps it, and rank is then the most", async () => {
  const adapter = await moved(cases["a LoHa"]!);
  const { adapter: made, sites, keptEnergy } = await convertToLora(adapter, base, { energy: 0.95 });
  const ranks: Record<string, number> = {};
  for (const [i, delta] of deltasOf(adapter, base).entries()) {
    const { s } = svd(await delta.compute());
    const part = (rank: number) => norm(s.slice(0, rank)) ** 2 / norm(s) ** 2;
    const { site, rank } = sites[i]!;
    ranks[site] = rank;
    expect(part(rank)).toBeGreaterThanOrEqual(0.95);
    expect(part(rank - 1)).toBeLessThan(0.95);
  }
  expect(keptEnergy).toBeGreaterThan(0.95 - 1e-6);
  const [first, second] = [ranks.first!, ranks.second!];
  expect(first).not.toBe(second);
  const most = Math.max(first, second);
  const smaller = first < second ? "first" : "second";
  const pattern = { [smaller]: ranks[smaller]! };
  expect(made.config).toMatchObject({ r: most, lora_alpha: most, rank_pattern: pattern, alpha_pattern: pattern });
  const capped = await convertToLora(adapter, base, { energy: 0.95, rank: 2 });
  expect(capped.sites.map(({ rank }) => rank)).toEqual([2, 2]);
  const whole = await convertToLora(adapter, base, { energy: 1 });
  expect(whole.relativeError).toBeLessThan(1e-6);
});

test("weights stored [in, out] give the same LoRA", async () => {
  const turned = tinyBase({ first: [12, 10] }, { fanInFanOut: true });
  const adapter = await moved({ peft_type: "LOHA", r: 2, target_modules: ["first"] }, turned);
  const { adapter: made, relativeError } = await convertToLora(adapter, turned, { rank: 4 });
  expect(relativeError).toBeLessThan(1e-5);
  expect(made.config.fan_in_fan_out).toBe(true);
  const [a, b] = ["A", "B"].map((part) => made.values.get(`base_model.model.first.lora_${part}.weight`)!);
  const change = await deltasOf(adapter, turned)[0]!.compute();
  const product = multiply(matrix(12, 4, b), matrix(4, 10, a)).data;
  for (const [i, x] of change.data.entries()) expect(Math.abs(product[i]! - x)).toBeLessThan(1e-5);
});

test("a change of zeros has no error", async () => {
  const fresh = await createAdapter({ peft_type: "LORA", ...targets }, base, 1);
  const { sites, relativeError, keptEnergy } = await convertToLora(fresh, base, { energy: 0.9 });
  expect(sites.map(({ rank, norm: size }) => [rank, size])).toEqual([
    [1, 0],
    [1, 0],
  ]);
  expect([relativeError, keptEnergy]).toEqual([0, 1]);
});

test("what is no change of linear weights, and ranks out of range, are refused with the reason", async () => {
  const convert = (adapter: LoadedAdapter, options: Parameters<typeof convertToLora>[2]) =>
    convertToLora(adapter, base, options);
  const adapter = await moved(cases["a LoHa"]!);
  await expect(convert(adapter, {})).rejects.toThrow("convert: give rank or energy");
  await expect(convert(adapter, { rank: 0 })).rejects.toThrow("rank is a whole number of at least 1, not 0");
  await expect(convert(adapter, { energy: 1.5 })).rejects.toThrow("energy is above 0 and at most 1, not 1.5");
  await expect(convert(adapter, { rank: 9 })).rejects.toThrow(
    "convert: rank is 9, the [8, 12] weight of second has rank 8",
  );
  const saved = await moved({ peft_type: "LORA", target_modules: ["first"], modules_to_save: ["second"] });
  const { relativeError } = await convert(saved, { rank: 8 });
  expect(relativeError).toBeLessThan(1); // a linear layer that was trained whole has a change too
  const stopped = AbortSignal.abort();
  await expect(convert(adapter, { rank: 2, signal: stopped })).rejects.toThrow("abort");
});
