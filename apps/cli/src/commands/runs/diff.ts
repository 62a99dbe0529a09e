import { z } from "zod";
import { defineCommand, UsageError } from "../../command.ts";
import { diffRuns, type RunDiff, type TaskDiff } from "../../runs/diff.ts";
import { snakeCase } from "../../runs/run-json.ts";
import { modelText, share, signed } from "../../runs/run-text.ts";
import { databaseOption, withRecordedRuns } from "../../runs/with-store.ts";
import { table } from "../../table.ts";

export default defineCommand({
  name: "runs diff",
  summary: "say how two runs differ, and whether one really beats the other",
  description:
    "Shows the settings that differ, both figures of each task, and a paired test over the docs that both runs were asked: McNemar's exact test for zeros and ones, a paired bootstrap for other values. The verdict is at 5 %.",
  positional: { syntax: "<runs...>", description: "two ids of runs, or how only their ids begin" },
  examples: [
    "graft runs diff 20250131-235959-k3x9q 20250201-000512-b7m2d",
    "graft runs diff 20250131-2359 20250201-0005 --json",
  ],
  options: z.object({
    db: databaseOption,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  run({ db, json }, { positionals, print }) {
    if (positionals.length !== 2) throw new UsageError(`give two runs, not ${positionals.length}`);
    return withRecordedRuns(db, async (store) => {
      const [a, b] = [await store.run(positionals[0]!), await store.run(positionals[1]!)];
      const diff = diffRuns(a, b);
      if (json) print(JSON.stringify({ a: a.id, b: b.id, settings: diff.settings, tasks: diff.tasks.map(taskJson) }));
      else print([`A  ${a.id}  ${modelText(a)}\nB  ${b.id}  ${modelText(b)}`, ...text(diff)].join("\n\n"));
      return 0;
    });
  },
});

function taskJson({ paired, ...task }: TaskDiff) {
  return { ...task, paired: paired && snakeCase(paired) };
}

function text({ settings, tasks }: RunDiff): string[] {
  const value = (x: unknown): string => (x === undefined || x === null ? "" : JSON.stringify(x));
  const differing = settings.map(({ name, a, b }) => [name, value(a), value(b)]);
  const figure = (x: number | undefined): string => (x === undefined ? "" : share(x));
  const rows = tasks.map(({ task, metric, a, b, difference }) => [
    task,
    metric ?? "",
    figure(a),
    figure(b),
    difference === undefined ? "" : signed(difference),
  ]);
  return [
    differing.length > 0 ? table(["differs", "A", "B"], differing) : "the settings are the same",
    ...(tasks.length > 0 ? [table(["task", "metric", "A", "B", "B - A"], rows)] : ["neither has results"]),
    ...(tasks.length > 0 ? [tasks.map(({ task, verdict }) => `${task}: ${verdict}`).join("\n")] : []),
  ];
}
