import type { ListedRun } from "@graft/server/db";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { runJson } from "../../runs/run-json.ts";
import { duration, modelText, share, when } from "../../runs/run-text.ts";
import { databaseOption, withRecordedRuns } from "../../runs/with-store.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "runs ls",
  summary: "list the runs that were recorded",
  description:
    "Lists the newest runs first: when, state, model and adapter, the figure of each task, and how long it took. A run whose process was killed stays `running`.",
  examples: ["graft runs ls", "graft runs ls --task gsm8k --limit 5", "graft runs ls --json --db ./runs.sqlite"],
  options: z.object({
    limit: z.int().min(1).default(20).describe("how many"),
    task: z.string().optional().describe("only runs with a result of this task"),
    db: databaseOption,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  run({ limit, task, db, json }, { print, log }) {
    return withRecordedRuns(db, async (store) => {
      const runs = await store.runs({ limit, task });
      if (json) print(JSON.stringify({ runs: runs.map(runJson) }));
      else if (runs.length > 0)
        print(
          table(
            HEADS,
            runs.map((run) => row(run, task)),
          ),
        );
      else log(task === undefined ? "no runs are recorded yet" : `no run has a result of ${task}`);
      return 0;
    });
  },
});

const HEADS = ["run", "when (UTC)", "state", "model", "tasks", "took"];

/** Tasks that a line shows. */
const SHOWN = 4;

function row(run: ListedRun, task: string | undefined): string[] {
  const results = run.results.filter((result) => task === undefined || result.task === task);
  const figures = results
    .slice(0, SHOWN)
    .map(({ task: name, primary, figures: all }) => `${name} ${primary} ${share(all[primary]!.value)}`);
  const more = results.length > SHOWN ? [`${results.length - SHOWN} more`] : [];
  return [run.id, when(run.createdAt), run.state, modelText(run), [...figures, ...more].join(", "), duration(run)];
}
