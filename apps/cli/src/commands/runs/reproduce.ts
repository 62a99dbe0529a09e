import { ConfigError } from "@graft/core/errors";
import { parseWith } from "@graft/core/io";
import type { RunDetails } from "@graft/server/db";
import { z } from "zod";
import { defineCommand } from "../../command.ts";
import { type EvalSettings, evalOptions } from "../../eval/options.ts";
import { evalRun } from "../../eval/run.ts";
import { compareRuns, type Reproduction } from "../../runs/compare.ts";
import { checkInputs } from "../../runs/inputs.ts";
import { snakeCase } from "../../runs/run-json.ts";
import { databaseOption, withRecordedRuns } from "../../runs/with-store.ts";

export default defineCommand({
  name: "runs reproduce",
  summary: "run an evaluation again and say whether the numbers match",
  description:
    "Checks that model, adapter and data are what they were, runs the evaluation again with the settings that were recorded and from the folder it was started in, and compares every figure and every doc bit for bit. The new run is recorded too. Exit code 0 only if all is identical.",
  positional: { syntax: "<run>", description: "id of a run, or how only its id begins" },
  examples: ["graft runs reproduce 20250131-235959-k3x9q", "graft runs reproduce 20250131-2359 --json"],
  options: z.object({
    db: databaseOption,
    json: z.boolean().default(false).describe("print one JSON document"),
  }),
  run({ db, json }, { positionals, print, log, signal }) {
    return withRecordedRuns(db, async (store) => {
      const before = await store.run(positionals[0]!);
      const settings = settingsOf(before);
      enter(before);
      if (before.state !== "finished")
        log(`run ${before.id} is ${before.state}: compared are the ${before.results.length} results that it has`);
      const inputs = (await checkInputs(before, log)).filter(({ state }) => state !== "same");
      for (const { said } of inputs) log(said);
      const missing = inputs.filter(({ state }) => state === "missing");
      if (missing.length > 0)
        throw new ConfigError(`run ${before.id} cannot be run again: ${missing.map(({ said }) => said).join("; ")}`);
      const { runIds } = await evalRun(settings, { log, signal, store });
      const after = await store.run(runIds[0]!);
      const found = compareRuns(before, after);
      if (json) print(JSON.stringify({ before: before.id, after: after.id, inputs, ...snakeCase(found) }));
      else print(text(before, after, found));
      return found.isIdentical ? 0 : 1;
    });
  },
});

/** Without an output folder: problems whose samples are there already would not be asked again. */
function settingsOf(run: RunDetails): EvalSettings {
  if (run.kind !== "eval")
    throw new ConfigError(`run ${run.id} is of kind ${run.kind}; what can be run again is an eval`);
  if (run.results.length === 0)
    throw new ConfigError(`run ${run.id} is ${run.state} and has no results to compare with`);
  const { output: _, ...settings } = parseWith(evalOptions, run.settings, `the settings of run ${run.id}`);
  return settings;
}

/** Paths of the settings begin where the run was started. */
function enter({ id, folder }: RunDetails): void {
  try {
    process.chdir(folder);
  } catch (cause) {
    const said = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${folder}: run ${id} was started in this folder, which cannot be entered (${said})`, {
      cause,
    });
  }
}

function text(before: RunDetails, after: RunDetails, { isIdentical, tasks, surroundings }: Reproduction): string {
  const lines = tasks.flatMap(({ task, differences }) =>
    differences.length === 0 ? [`${task}: identical`] : differences.map((said) => `${task}: ${said}`),
  );
  const reasons = surroundings.map((said) => `what may be the reason: ${said}`);
  const verdict = isIdentical ? ["identical: the numbers match bit for bit"] : [...reasons, "not identical"];
  return [`run ${before.id} again, as run ${after.id}:`, ...lines, ...verdict].join("\n");
}
