import { convertToLora, loadAdapter, saveAdapter } from "@graft/adapters";
import { checkNewFolder } from "@graft/core/io";
import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { modelOptions } from "../../model-options.ts";
import { counter } from "../../progress.ts";
import { table } from "../../table.ts";
import { withBase } from "../../with-base.ts";

export default defineCommand({
  name: "adapters convert",
  summary: "make a LoRA of any adapter that can be merged",
  description:
    "Takes the truncated singular value decomposition of what the adapter adds to each linear weight, and says what is lost: relative error |delta - B A| / |delta| and kept energy, its square taken from 1. Needs no GPU.",
  examples: [
    "graft adapters convert --model DIR --adapter ./math-loha --output-dir ./math-lora --rank 16",
    "graft adapters convert --model DIR --adapter ./math-dora --output-dir ./math-lora --energy 0.99 --rank 64 --json",
  ],
  options: z.object({
    model: modelOptions.model,
    adapter: z.string().describe("folder of the adapter"),
    outputDir: z.string().describe("folder of the LoRA: new or empty"),
    rank: z.int().min(1, "must be at least 1").optional().describe("rank of every site; with --energy the largest one"),
    energy: z
      .number()
      .gt(0, "must be above 0")
      .max(1, "must be at most 1")
      .optional()
      .describe("instead of one rank: the smallest of each site that keeps this part of the squares"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ model, adapter, outputDir, rank, energy, json }, { print, log, signal }) {
    if (rank === undefined && energy === undefined) throw new UsageError("give --rank or --energy");
    checkNewFolder(outputDir, "the adapter");
    const { sites, relativeError, keptEnergy } = await withBase(model, async (base) => {
      const onSite = counter("converting: weight", log);
      const converted = await convertToLora(loadAdapter(adapter, base), base, { rank, energy, signal, onSite });
      await saveAdapter(outputDir, converted.adapter, base);
      return converted;
    });
    if (json) {
      print(
        JSON.stringify({
          output_dir: outputDir,
          relative_error: relativeError,
          kept_energy: keptEnergy,
          sites: sites.map((s) => ({
            site: s.site,
            rank: s.rank,
            norm: s.norm,
            relative_error: s.relativeError,
            kept_energy: s.keptEnergy,
          })),
        }),
      );
      return 0;
    }
    const rows = sites.map((s) => [
      s.site,
      String(s.rank),
      s.norm.toPrecision(5),
      s.relativeError.toExponential(3),
      s.keptEnergy.toFixed(6),
    ]);
    print(table(["weight", "rank", "norm", "relative error", "kept energy"], rows));
    print(
      `\nover all: relative error ${relativeError.toExponential(3)}, kept energy ${keptEnergy.toFixed(6)}; the LoRA is in ${outputDir}`,
    );
    return 0;
  },
});
