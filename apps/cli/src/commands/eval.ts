import { compareRuns, markdownTable, resultsJson } from "@graft/eval";
import { defineCommand } from "../command.ts";
import { taskGroups } from "../eval/chosen-tasks.ts";
import { evalOptions } from "../eval/options.ts";
import { evalRun } from "../eval/run.ts";
import { withStore } from "../runs/with-store.ts";

export default defineCommand({
  name: "eval",
  summary: "measure a base or adapters on tasks",
  description:
    "Runs tasks and says how sure the figures are. A run that was cut off goes on item by item if --output is the same. Several adapters are compared pairwise.\n\n" +
    [...taskGroups()]
      .filter(([name]) => name !== "all")
      .map(([name, tasks]) => `${name}: ${tasks.map((task) => task.name).join(", ")}`)
      .join("\n"),
  examples: [
    "graft eval --model DIR --tasks gsm8k,boolq --limit 50 --data-dir datasets",
    "graft eval --model DIR --adapter none --adapter lora=out --tasks commonsense --output results",
    "graft eval --model DIR --adapter out --tasks arithmetic --scoring paper",
    "graft eval --model DIR --tasks arc_easy --scoring loglikelihood --num-fewshot 5",
    "graft eval --model DIR --tasks humaneval --num-samples 20 --temperature 0.8 --allow-code-execution",
    "graft eval --endpoint http://localhost:8000/v1 --model math --tasks svamp",
    "graft eval --model models/graft-micro-llama --adapter out --tasks micro-math --output results --json",
    "graft eval --model DIR --tasks ./my-task.json",
  ],
  options: evalOptions,
  async run(settings, { print, log, signal }) {
    const { runs, runIds } = await withStore(settings.db, (store) => evalRun(settings, { log, signal, store }));
    const { json, output } = settings;
    const comparisons = json && output === undefined ? [] : compareRuns(runs);
    // It brings what draws pictures, which is long to load.
    if (output !== undefined) await (await import("../eval/output.ts")).writeReports(output, runs, comparisons);
    if (json) {
      const [first, ...others] = runs.map(resultsJson);
      print(JSON.stringify(others.length === 0 ? first : [first, ...others], null, 2));
    } else print(markdownTable(runs, comparisons));
    for (const id of runIds) log(`recorded as run ${id}; \`graft runs show ${id}\``);
    return 0;
  },
});
