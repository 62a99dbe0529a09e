import {
  combineAdapters,
  type CombinationType,
  combinationTypes,
  loadAdapter,
  openBaseFolder,
  saveAdapter,
  summariseAdapter,
} from "@graft/adapters";
import { checkNewFolder } from "@graft/core/io";
import { z } from "zod";
import { defineCommand, oneOf, UsageError } from "../../command.ts";
import { namedFolders } from "../../named-folders.ts";
import { counter } from "../../progress.ts";
import { resolveModelFolder } from "../../resolve-model.ts";

const types = Object.keys(combinationTypes) as CombinationType[];

export default defineCommand({
  name: "adapters combine",
  summary: "merge several LoRAs into one, weighted",
  description:
    "Does what PEFT's add_weighted_adapter does. cat and svd give the weighted sum of the changes (svd the best one of its rank), linear is rough, ties and dare prune and resolve signs. Needs no GPU; adapters that are no LoRAs go through `graft adapters convert` first.",
  examples: [
    "graft adapters combine --adapter math=./math --adapter common=./common --weights 0.7,0.3 --combination-type ties --density 0.5 --output-dir ./both",
    "graft adapters combine --model DIR --adapter a=./a --adapter b=./b --weights 1,-0.5 --combination-type svd --svd-rank 16 --output-dir ./difference",
  ],
  options: z.object({
    adapter: z.array(z.string()).describe("NAME=DIR, once for each adapter"),
    weights: z.array(z.coerce.number()).describe("one for each adapter, in their order; may be negative"),
    outputDir: z.string().describe("folder of the LoRA: new or empty"),
    model: z.string().optional().describe("folder of the base model, or a hub name; default: what the adapters name"),
    combinationType: oneOf(types).default("svd").describe(types.join(", ")),
    svdRank: z
      .int()
      .min(1, "must be at least 1")
      .optional()
      .describe("rank of the result of svd and ..._svd; default: the largest of the adapters"),
    svdClamp: z.number().min(0).max(1).optional().describe("quantile at which the factors of an SVD are cut"),
    density: z
      .number()
      .min(0)
      .max(1)
      .optional()
      .describe("part of the values that ties, dare and magnitude_prune keep"),
    majoritySignMethod: oneOf(["total", "frequency"])
      .default("total")
      .describe("ties: the sign of the sum of the values, or that of most of them"),
    seed: z.int().min(0).default(0).describe("of the random pruning of dare"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run(o, { print, log, signal }) {
    const folders = namedFolders(o.adapter);
    if (folders.length !== o.weights.length)
      throw new UsageError(`--weights has ${o.weights.length} numbers for ${folders.length} adapters`);
    checkNewFolder(o.outputDir, "the adapter");
    const model = o.model ?? commonBase(folders);
    const open = async (weights: boolean) => openBaseFolder(await resolveModelFolder(model, { weights }));
    let base = await open(false);
    try {
      const parts = folders.map(({ name, folder }, i) => ({
        name,
        adapter: loadAdapter(folder, base),
        weight: o.weights[i]!,
      }));
      const combined = await combineAdapters(parts, base, {
        ...o,
        signal,
        onSite: counter("combining: module", log),
      });
      if (combined.bound.savedBase.length > 0) {
        // The weights of an embedding or output layer are saved beside a LoRA on it: only then they are needed.
        base.close();
        base = await open(true);
      }
      await saveAdapter(o.outputDir, combined, base);
    } finally {
      base.close();
    }
    const { method, size, targets, parameters, version } = summariseAdapter(o.outputDir);
    print(
      o.json
        ? JSON.stringify({ output_dir: o.outputDir, method, ...size, target_modules: targets, parameters, version })
        : `the combined adapter, of rank ${String(size.r)}, is in ${o.outputDir}`,
    );
    return 0;
  },
});

/** The base that all adapters name. Throws UsageError if they name none or several. */
function commonBase(folders: ReturnType<typeof namedFolders>): string {
  const bases = folders.map(({ name, folder }) => ({ name, base: summariseAdapter(folder).base }));
  const [first] = bases;
  const other = bases.find(({ base }) => base !== first!.base);
  if (other) {
    throw new UsageError(
      `the adapters name different bases, "${first!.name}" ${first!.base ?? "none"} and "${other.name}" ${other.base ?? "none"}; give --model if it is one`,
    );
  }
  if (first?.base === undefined) throw new UsageError("the adapters name no base; give --model");
  return first.base;
}
