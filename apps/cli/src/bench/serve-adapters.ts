/** Adapters of mixed kinds that are there to be timed: their values are noise. */
import { type AdapterConfig, createAdapter, openBaseFolder, saveAdapter } from "@graft/adapters";
import { Random } from "@graft/core/random";
import { join } from "node:path";

/** In the order in which they are taken; the sizes are usual ones. */
const KINDS = {
  lora: { peft_type: "LORA", r: 8, lora_alpha: 16, target_modules: "all-linear" },
  series: { peft_type: "BOTTLENECK", bottleneck_size: 16, non_linearity: "tanh" },
  prefix: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 8 },
  parallel: { peft_type: "BOTTLENECK", bottleneck_size: 16, use_parallel_adapter: true },
  prompt: { peft_type: "PROMPT_TUNING", num_virtual_tokens: 8 },
  ia3: { peft_type: "IA3" },
} as const satisfies Record<string, AdapterConfig>;

/** Writes `count` of them into folders of their own and returns these by name: lora-1, series-2, ... */
export async function writeMixedAdapters(
  model: string,
  into: string,
  count: number,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const base = openBaseFolder(model);
  const folders: Record<string, string> = {};
  try {
    const kinds = Object.entries(KINDS);
    for (let i = 0; i < count; i++) {
      signal.throwIfAborted();
      const [kind, config] = kinds[i % kinds.length]!;
      const adapter = await createAdapter(config, base, i);
      const random = new Random(i, 1);
      for (const [key, value] of adapter.values)
        adapter.values.set(
          key,
          value.map((x) => x + 0.01 * random.normal()),
        );
      const name = `${kind}-${i + 1}`;
      folders[name] = join(into, name);
      await saveAdapter(folders[name], adapter, base);
    }
    return folders;
  } finally {
    base.close();
  }
}
