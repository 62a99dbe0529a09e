/** Adapters made of loaded ones. The parts' values are copied: a composition is an adapter of its own, to be trained, saved, served and merged like any other. */
import { suggest, UnknownName } from "@graft/core/errors";
import type { AdapterConfig, LoadedAdapter } from "./adapter.ts";
import { createAdapter } from "./adapter.ts";
import { keyOfPart } from "./composition.ts";
import type { Base } from "./method.ts";

export interface ComposeOptions {
  /** Names of parts that are trained with the whole; default: none. */
  readonly trainable?: readonly string[];
  /** Of what is new in the composition. */
  readonly seed?: number;
}

/**
 * A composition of `parts`, by name and in their order: `settings` is its config without them, such as `{ peft_type: "STACK" }`, "AVERAGE" with `weights`, or "FUSION".
 * Throws UnknownName or ConfigError, beginning with `where`, where they do not go together.
 */
export async function composeAdapters(
  settings: AdapterConfig,
  parts: Readonly<Record<string, LoadedAdapter>>,
  base: Base,
  { trainable = [], seed = 0 }: ComposeOptions = {},
  where = "composition",
): Promise<LoadedAdapter> {
  const other = trainable.find((name) => !Object.hasOwn(parts, name));
  if (other !== undefined)
    throw new UnknownName(
      `${where}: trainable names "${other}", which is no part${suggest(other, Object.keys(parts))}`,
    );
  const adapters = Object.entries(parts).map(([name, part]) => ({
    name,
    config: part.config,
    trainable: trainable.includes(name),
  }));
  const whole = await createAdapter({ ...settings, adapters }, base, seed, where);
  for (const [name, { bound, values }] of Object.entries(parts))
    for (const { key } of bound.parameters) whole.values.set(keyOfPart(name, key), values.get(key)!.slice());
  return whole;
}
