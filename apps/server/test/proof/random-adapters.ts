/** Adapters of every kind that do something, as folders: what proofs publish and ask. */
import { type AdapterConfig, createAdapter, openBaseFolder, saveAdapter } from "@graft/adapters";
import { Random } from "@graft/core/random";
import { join } from "node:path";

export const kinds = {
  lora: { peft_type: "LORA", r: 4, target_modules: ["q_proj", "v_proj"] },
  series: { peft_type: "BOTTLENECK", bottleneck_size: 8, non_linearity: "tanh" },
  parallel: { peft_type: "BOTTLENECK", bottleneck_size: 8, use_parallel_adapter: true },
  prefix: { peft_type: "PREFIX_TUNING", num_virtual_tokens: 3 },
  prompt: { peft_type: "PROMPT_TUNING", num_virtual_tokens: 4 },
  ia3: { peft_type: "IA3" },
} as const satisfies Record<string, AdapterConfig>;
export type Kind = keyof typeof kinds;

/** Writes one for the base at `model`, its values with noise of this seed on them. Returns its folder. */
export async function writeRandomAdapter(model: string, into: string, kind: Kind, seed: number): Promise<string> {
  const base = openBaseFolder(model);
  try {
    const adapter = await createAdapter(kinds[kind], base, seed);
    const random = new Random(seed, 9);
    for (const [key, value] of adapter.values)
      adapter.values.set(
        key,
        value.map((x) => x + 0.3 * random.normal()),
      );
    const folder = join(into, `${kind}-${seed}`);
    await saveAdapter(folder, adapter, base);
    return folder;
  } finally {
    base.close();
  }
}
