/** The files of an evaluation, all made of the same runs. */
import { writeFileAtomic } from "@graft/core/io";
import { type Comparison, type EvalRun, markdownTable, resultsJson } from "@graft/eval";
import { join } from "node:path";
import { reportHtml } from "./html.ts";

/** results.json (of each system in a folder of its own where there are several), table.md and report.html. */
export async function writeReports(
  folder: string,
  runs: readonly EvalRun[],
  comparisons: readonly Comparison[],
): Promise<void> {
  for (const run of runs) {
    const own = runs.length === 1 ? folder : join(folder, run.system);
    writeFileAtomic(join(own, "results.json"), [`${JSON.stringify(resultsJson(run), null, 2)}\n`]);
  }
  writeFileAtomic(join(folder, "table.md"), [`${markdownTable(runs, comparisons)}\n`]);
  writeFileAtomic(join(folder, "report.html"), [await reportHtml(runs, comparisons)]);
}
