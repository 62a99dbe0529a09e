import { makeFolder } from "@graft/core/io";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand, UsageError } from "../command.ts";
import { config } from "../config.ts";
import { writeStudy } from "../study/output.ts";
import { changedStudy, type PlannedCell, planStudy, runStudy } from "../study/run.ts";
import { readStudy } from "../study/schema.ts";
import { table } from "../table.ts";

const MICRO = join(config.root, "examples/studies/micro.yaml");

export default defineCommand({
  name: "study",
  summary: "compare adapter methods on models and tasks, as the paper's tables do",
  description:
    "Trains every adapter of a grid (method, placement, size, learning rate, seed) on every model for every task, the same steps on the same batches, and measures it. Cells that are done are kept: called again, " +
    "a study goes on where it was stopped (Ctrl-C saves). Writes results.json, table.md, pictures and study.html. The grid is a YAML or JSON file: docs/study.md.",
  positional: { syntax: "[file]", description: "what to compare" },
  examples: [
    "graft study grid.yaml",
    "graft study grid.yaml --dry-run",
    "graft study grid.yaml --only 'LoRA.*mlp' --limit 50",
    "graft study --micro",
    "graft study --micro --models graft-micro-llama --methods lora,series --steps 100 --output-dir runs/small",
    "graft study --micro --json",
  ],
  options: z.object({
    micro: z.boolean().default(false).describe("the study of the embedded models, examples/studies/micro.yaml"),
    models: z.array(z.string()).optional().describe("only these models of the study"),
    methods: z.array(z.string()).optional().describe("only these methods, or variants of these titles"),
    tasks: z.array(z.string()).optional().describe("only these tasks"),
    only: z.string().optional().describe("only cells whose line in --dry-run this regular expression matches"),
    steps: z.int().min(1).optional().describe("optimizer steps of each adapter, instead of the study's"),
    limit: z.int().min(1).optional().describe("only the first problems of each task"),
    outputDir: z.string().optional().describe("where adapters and results go (default: runs/NAME)"),
    dryRun: z.boolean().default(false).describe("print the cells, their trained parameters and steps, and stop"),
    json: z.boolean().default(false).describe("print the results, or the cells, as JSON"),
  }),
  async run(o, { positionals: [file], print, log, signal }) {
    if (o.micro === (file !== undefined))
      throw new UsageError("name a study file, or say --micro for the study that comes with Graft");
    const path = file ?? MICRO;
    const study = changedStudy(await readStudy(path), o);
    const plan = await planStudy(study, path, o.only === undefined ? undefined : patternOf(o.only));
    if (o.dryRun) {
      print(o.json ? JSON.stringify(plan.cells.map(shownCell), null, 2) : cellTable(plan.cells));
      return 0;
    }
    const outputDir = o.outputDir ?? join("runs", study.name);
    makeFolder(outputDir);
    const results = await runStudy(plan, { outputDir, signal, log });
    if (!results) {
      log("stopped; the same command goes on from here");
      return 130;
    }
    const markdown = await writeStudy(outputDir, results);
    print(o.json ? JSON.stringify(results, null, 2) : markdown);
    log(`${join(outputDir, "study.html")} has the pictures too`);
    return 0;
  },
});

function patternOf(only: string): RegExp {
  try {
    return new RegExp(only);
  } catch (cause) {
    throw new UsageError(`--only: ${only} is no regular expression`, { cause });
  }
}

function shownCell({ label, model, task, title, adapter, seed, steps }: PlannedCell) {
  return {
    cell: label,
    model: model.name,
    task: task.name,
    title,
    method: adapter?.method ?? null,
    placement: adapter?.placement ?? null,
    learning_rate: adapter?.learningRate ?? null,
    seed: seed ?? null,
    config: adapter?.config ?? null,
    trainable_parameters: adapter?.trainableParameters ?? 0,
    steps,
  };
}

function cellTable(cells: readonly PlannedCell[]): string {
  const rows = cells.map(({ label, adapter, steps }) => [
    label,
    (adapter?.trainableParameters ?? 0).toLocaleString("en"),
    String(steps),
  ]);
  const steps = cells.reduce((sum, cell) => sum + cell.steps, 0);
  return `${table(["cell", "trained parameters", "steps"], rows)}\n${cells.length} cells, ${steps.toLocaleString("en")} steps`;
}
