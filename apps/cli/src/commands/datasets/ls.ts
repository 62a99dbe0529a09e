import { datasets, findDataset, hasDataset, type Split } from "@graft/eval";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { dataDirsOf } from "../../eval/data-dirs.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "datasets ls",
  summary: "list the data sets, and where their files are",
  description: "Looks in the folders given, in what `graft datasets pull` has fetched, and in what comes with Graft.",
  examples: ["graft datasets ls", "graft datasets ls --data-dir datasets --json"],
  options: z.object({
    dataDir: z.array(z.string()).default([]).describe("folders with data sets' files, such as gsm8k/test.json"),
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  async run({ dataDir, json }, { print }) {
    const folders = dataDirsOf(dataDir);
    const placeOf = (name: string, split: Split): string | null => {
      const dataset = datasets[name]!;
      return hasDataset(dataset, split, folders) ? findDataset(dataset, split, folders) : null;
    };
    const found = Object.values(datasets).map(({ name, summary, rows, licence, citation, sources }) => ({
      name,
      summary,
      rows,
      licence,
      citation,
      can_be_pulled: sources.length > 0,
      test: placeOf(name, "test"),
      train: placeOf(name, "train"),
    }));
    if (json) {
      print(JSON.stringify({ datasets: found }));
      return 0;
    }
    const place = (path: string | null, canBePulled: boolean) =>
      path ?? (canBePulled ? "not here; can be pulled" : "not here");
    print(
      table(
        ["Name", "Rows", "Test set", "Training set", "Licence", "Summary"],
        found.map((one) => [
          one.name,
          String(one.rows),
          place(one.test, one.can_be_pulled),
          one.train ?? "",
          one.licence,
          one.summary,
        ]),
      ),
    );
    return 0;
  },
});
