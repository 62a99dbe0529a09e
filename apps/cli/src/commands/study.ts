import { writeFileAtomic } from "@graft/core/io";
import { openCommandDevice } from "../device.ts";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand, oneOf, UsageError } from "../command.ts";
import { microModels } from "../micro.ts";
import { type Cell, type CellResult, type CellTools, runCell, storedResult } from "../study/cell.ts";
import { recipes } from "../study/recipes.ts";
import { studyPicture, studyTable, titleOf } from "../study/report.ts";

const MODELS = readdirSync(microModels).filter((name) => /^graft-micro-[a-z0-9]+$/.test(name));
const TASKS = ["micro-math", "micro-common"];
const METHODS = Object.keys(recipes);

export default defineCommand({
  name: "study",
  summary: "compare adapter methods on models and tasks, as the paper's tables do",
  description:
    "Trains each method on each model for each task, the same steps on the same batches, and measures it. Cells that are done are kept: called again, a study goes on where it was stopped (Ctrl-C saves). " +
    "Writes results.json, table.md and study.svg.",
  examples: [
    "graft study --micro",
    "graft study --micro --models graft-micro-llama --methods lora,series --steps 100 --output-dir runs/small",
    "graft study --micro --json",
  ],
  options: z.object({
    micro: z.boolean().default(false).describe("the embedded models and tasks: the only study there is today"),
    models: z.array(oneOf(MODELS)).default(MODELS).describe("models to compare"),
    methods: z.array(oneOf(METHODS)).default(METHODS).describe("adapter methods to compare"),
    tasks: z.array(oneOf(TASKS)).default(TASKS).describe("tasks to compare on"),
    steps: z.int().min(1).default(300).describe("optimizer steps of each adapter"),
    limit: z.int().min(1).optional().describe("only the first problems of each task"),
    outputDir: z.string().default("runs/study").describe("where adapters and results go"),
    json: z.boolean().default(false).describe("print the results as JSON"),
  }),
  async run(o, { print, log, signal }) {
    if (!o.micro) throw new UsageError("say --micro: the study of the embedded models is the only one there is");
    const [models, tasks, methods] = [o.models, o.tasks, ["base", ...o.methods]].map((names) => [...new Set(names)]);
    const cells = models!.flatMap((model) =>
      tasks!.flatMap((task) => methods!.map((method): Cell => ({ model, method, task }))),
    );
    const device = await openCommandDevice();
    const tools: CellTools = { device, outputDir: o.outputDir, steps: o.steps, limit: o.limit, signal, log };
    const results: CellResult[] = [];
    try {
      for (const [i, cell] of cells.entries()) {
        const known = storedResult(cell, tools);
        log(
          `${i + 1}/${cells.length}  ${cell.model}  ${cell.task}  ${titleOf(cell.method)}${known ? "  (done before)" : ""}`,
        );
        const result = known ?? (await runCell(cell, tools));
        if (!result) {
          log(`stopped; the same command goes on from here`);
          return 130;
        }
        results.push(result);
        log(`   ${(100 * result.acc).toFixed(1)} % of ${result.count}`);
      }
    } finally {
      await device.close();
    }
    const table = studyTable(results);
    writeFileAtomic(join(o.outputDir, "results.json"), [`${JSON.stringify(results, null, 2)}\n`]);
    writeFileAtomic(join(o.outputDir, "table.md"), [`${table}\n`]);
    writeFileAtomic(join(o.outputDir, "study.svg"), [await studyPicture(results)]);
    print(o.json ? JSON.stringify(results) : table);
    return 0;
  },
});
