/** What every adapter must survive. */
import { expect } from "bun:test";
import { Generator } from "@graft/core/generate";
import type { BaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  type AdapterConfig,
  baseOf,
  createAdapter,
  loadAdapter,
  type LoadedAdapter,
  mergeAdapter,
  saveAdapter,
} from "../src/index.ts";

const prompt = [1, 5, 9, 40, 77, 12];

/** Logits of the last token of a fixed prompt. */
export async function logitsOf(model: BaseModel, adapter?: LoadedAdapter): Promise<Float32Array> {
  const weights = adapter && new AdapterWeights(model.device, adapter.bound, adapter.values, "adapter");
  const generator = new Generator(model, { maxSequences: 2 });
  try {
    return (await generator.nextLogits(prompt, weights)).slice();
  } finally {
    await generator.destroy();
    weights?.destroy();
  }
}

/** Moves every value that is trained. */
export function disturb({ bound, values }: LoadedAdapter, by = 0.05): void {
  for (const [n, { key, trainable }] of bound.parameters.entries()) {
    if (!trainable && bound.derived?.has(key)) continue;
    const own = values.get(key)!;
    for (let i = 0; i < own.length; i++) own[i] = own[i]! + by * Math.sin(i + 7 * n);
  }
}

/** Fresh it changes nothing, or something, as it says; merged it equals applied, and unmerged the base is as it was; saved, read and saved again it has the same bytes, and does the same. */
export async function expectSurvives({
  model,
  folder,
  config,
}: {
  readonly model: BaseModel;
  readonly folder: string;
  readonly config: AdapterConfig;
}): Promise<void> {
  const base = baseOf(model);
  const adapter = await createAdapter(config, base, 3);
  const plain = await logitsOf(model);
  const fresh = await logitsOf(model, adapter);
  const moved = Math.max(...fresh.map((x, i) => Math.abs(x - plain[i]!)));
  if (adapter.bound.startsAsIdentity) expect(moved).toBeLessThan(2e-4);
  else expect(moved).toBeGreaterThan(1e-3);

  // Any change of the parameters must now show, and merge as it applies.
  disturb(adapter);
  const applied = await logitsOf(model, adapter);
  expect(Math.max(...applied.map((x, i) => Math.abs(x - plain[i]!)))).toBeGreaterThan(1e-2);
  const merged = await mergeAdapter(model, adapter);
  const folded = await logitsOf(model);
  for (const [i, x] of applied.entries()) expect(Math.abs(folded[i]! - x)).toBeLessThan(1e-3);
  merged.unmerge();
  expect(await logitsOf(model)).toEqual(plain);

  const [first, second] = [join(folder, "a"), join(folder, "b")];
  await saveAdapter(first, adapter, base);
  await saveAdapter(second, loadAdapter(first, base), base);
  for (const file of ["adapter_model.safetensors", "adapter_config.json"]) {
    expect(readFileSync(join(second, file)).equals(readFileSync(join(first, file)))).toBe(true);
  }
  const reloaded = await logitsOf(model, loadAdapter(second, base));
  for (const [i, x] of applied.entries()) expect(Math.abs(reloaded[i]! - x)).toBeLessThan(1e-4);
  expect(await logitsOf(model)).toEqual(plain);
}
