import type { ResultRow, RunDetails } from "@graft/server/db";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { provenanceNames } from "../../runs/diff.ts";
import { runJson } from "../../runs/run-json.ts";
import { duration, modelText, share, when } from "../../runs/run-text.ts";
import { databaseOption, withRecordedRuns } from "../../runs/with-store.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "runs show",
  summary: "show a run's figures, settings and hashes",
  description:
    "Shows every metric of every task with its standard error and 95 % interval, the settings that the run had, and the hashes of what it was made of. With --json also the value of each doc.",
  positional: { syntax: "<run>", description: "id of a run, or how only its id begins" },
  examples: ["graft runs show 20250131-235959-k3x9q", "graft runs show 20250131-2359 --json"],
  options: z.object({
    db: databaseOption,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  run({ db, json }, { positionals, print }) {
    return withRecordedRuns(db, async (store) => {
      const run = await store.run(positionals[0]!);
      print(json ? JSON.stringify(runJson(run)) : text(run));
      return 0;
    });
  },
});

function text(run: RunDetails): string {
  const took = duration(run);
  const ended = `${run.state}${took === "" ? "" : ` after ${took}`}${run.error === null ? "" : `: ${run.error}`}`;
  const facts = [
    ["began", `${when(run.createdAt)} UTC`],
    ["state", ended],
    ["model", run.model],
    ["adapter", run.adapter ?? "none"],
    ["folder", run.folder],
    ["output", run.output ?? "none"],
  ];
  const settings = Object.entries(run.settings).map(([name, value]) => [name, JSON.stringify(value)]);
  const depends = provenanceNames.map(([field, name]) => [name, run[field] ?? "unknown"]);
  const notes = run.results.flatMap(({ task, contamination }) => contamination.map((line) => `${task}: ${line}`));
  return [
    `${run.kind} ${run.id}: ${modelText(run)}`,
    columns(facts),
    ...(run.results.length > 0 ? [figures(run.results)] : ["no results"]),
    ...(notes.length > 0 ? [`contamination\n${notes.join("\n")}`] : []),
    `settings\n${columns(settings)}`,
    `made of\n${columns(depends)}`,
    ...(run.results.length > 0 ? [inputs(run.results)] : []),
  ].join("\n\n");
}

function figures(results: readonly ResultRow[]): string {
  const rows = results.flatMap((r) =>
    Object.entries(r.figures).map(([metric, { value, stderr, interval }]) => [
      r.task,
      String(r.version),
      r.scoring,
      r.count === r.total ? String(r.count) : `${r.count} of ${r.total}`,
      String(r.cut),
      metric === r.primary ? `${metric} *` : metric,
      share(value),
      share(stderr),
      `${share(interval[0])} to ${share(interval[1])}`,
      r.seconds.toFixed(1),
    ]),
  );
  const heads = ["task", "version", "scoring", "docs", "cut", "metric", "value", "stderr", "95 % interval", "seconds"];
  return table(heads, rows);
}

function inputs(results: readonly ResultRow[]): string {
  const rows = results.map((r) => [
    r.task,
    r.template ?? "",
    JSON.stringify(r.decoding),
    r.datasetSha256.slice(0, 16),
    r.promptsHash.slice(0, 16),
    r.answersHash.slice(0, 16),
    r.datasetPath,
  ]);
  return table(["task", "template", "decoding", "data", "prompts", "answers", "file"], rows);
}

/** Names and values, with room in between. */
function columns(rows: readonly (readonly string[])[]): string {
  const width = Math.max(0, ...rows.map(([name]) => name!.length));
  return rows.map(([name, value]) => `  ${name!.padEnd(width)}  ${value}`).join("\n");
}
