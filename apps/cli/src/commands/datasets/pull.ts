import { DownloadError } from "@graft/core/errors";
import { datasetFor, datasets, type PulledFile, pullDataset } from "@graft/eval";
import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { pulledDatasets } from "../../eval/data-dirs.ts";
import { counter } from "../../progress.ts";

export default defineCommand({
  name: "datasets pull",
  summary: "fetch data sets from where they are published",
  description:
    "A download that was cut off goes on where it was. What a file was is kept in datasets.lock.json: when it is fetched again it must be the same. Files that were there before are left alone. `graft eval` looks in the default folder.",
  positional: { syntax: "<name...>", description: "data sets, or all" },
  examples: ["graft datasets pull gsm8k svamp", "graft datasets pull all --to datasets"],
  options: z.object({
    to: z.string().default(pulledDatasets).describe("folder for the files"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ to, json }, { positionals, print, log, signal }) {
    if (positionals.length === 0) throw new UsageError("names no data set; `graft datasets ls` lists them");
    const chosen = positionals.includes("all")
      ? Object.values(datasets).filter(({ sources }) => sources.length > 0)
      : positionals.map(datasetFor);
    const pulled: (PulledFile & { readonly dataset: string })[] = [];
    const problems: { readonly dataset: string; readonly problem: string }[] = [];
    for (const dataset of chosen) {
      const shows = new Map<string, ReturnType<typeof counter>>();
      try {
        const files = await pullDataset(dataset, to, {
          signal,
          onProgress({ file, bytes, total }) {
            const show = shows.get(file) ?? counter(`${file}: kB`, log, { isPassing: true });
            shows.set(file, show);
            show(Math.floor(bytes / 1e3), Math.floor((total ?? bytes) / 1e3));
          },
        });
        for (const file of files) {
          pulled.push({ dataset: dataset.name, ...file });
          log(`${file.path}: ${file.state}, ${file.sizeBytes} bytes, SHA-256 ${file.sha256}`);
        }
      } catch (error) {
        // A publisher that is away must not hide the others; with one data set there are none.
        if (chosen.length === 1 || !(error instanceof DownloadError)) throw error;
        problems.push({ dataset: dataset.name, problem: error.message });
        log(`${dataset.name}: ${error.message}`);
      }
    }
    const failed = problems.length > 0 ? `; not pulled: ${problems.map(({ dataset }) => dataset).join(", ")}` : "";
    print(
      json
        ? JSON.stringify({ files: pulled, problems })
        : `${pulled.length} ${pulled.length === 1 ? "file" : "files"} in ${to}${failed}`,
    );
    return problems.length > 0 ? 1 : 0;
  },
});
