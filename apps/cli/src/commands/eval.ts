import { markdownTable, resultsJson, runTask, taskFor, type TaskResult, tasks } from "@graft/eval";
import { writeFileAtomic } from "@graft/core/io";
import { join } from "node:path";
import { z } from "zod";
import { defineCommand, oneOf } from "../command.ts";
import { config } from "../config.ts";
import { loadLanguageModel } from "../load-model.ts";
import { modelOptions } from "../model-options.ts";
import { counter } from "../progress.ts";

export default defineCommand({
  name: "eval",
  summary: "measure a base or an adapter on tasks",
  description: `Runs tasks in the paper's format and extraction: ${Object.keys(tasks).join(", ")}. A run that was cut off goes on item by item if --output is the same.`,
  examples: [
    "graft eval --model DIR --tasks gsm8k,boolq --limit 50 --data-dir datasets",
    "graft eval --model models/graft-micro-llama --adapter out --tasks micro-math --output results --json",
  ],
  options: z.object({
    ...modelOptions,
    tasks: z.array(oneOf(Object.keys(tasks))).describe("task names"),
    dataDir: z.array(z.string()).default([]).describe("folders with the tasks' files, such as gsm8k/test.json"),
    limit: z.int().min(1).optional().describe("only the first rows of each task"),
    batchSize: z.int().min(1).default(16).describe("prompts that run together"),
    numBeams: z.int().min(1).optional().describe("instead of the paper's 4"),
    maxNewTokens: z.int().min(1).optional().describe("instead of the paper's 256 or 32"),
    output: z.string().optional().describe("folder for samples_TASK.jsonl and results.json"),
    json: z.boolean().default(false).describe("print the results as JSON"),
  }),
  async run(o, { print, log, signal }) {
    const chosen = o.tasks.map(taskFor);
    const model = await loadLanguageModel({
      model: o.model,
      adapter: o.adapter,
      dtype: o.dtype,
      quantization: o.quantization,
      quantizationSkipModules: o.quantizationSkipModules,
      maxSequences: o.batchSize * Math.max(...chosen.map((task) => o.numBeams ?? task.decoding.numBeams ?? 1)),
    });
    const results: TaskResult[] = [];
    try {
      for (const task of chosen) {
        const show = counter(task.name, log);
        const result = await runTask(task, model, {
          dataDirs: [...o.dataDir, join(config.root, "models/data")],
          limit: o.limit,
          batchSize: o.batchSize,
          numBeams: o.numBeams,
          maxNewTokens: o.maxNewTokens,
          outputDir: o.output,
          signal,
          onProgress: (done, total, correct) => show(done, total, `  ${correct} right`),
        });
        results.push(result);
        if (result.cut > 0)
          log(`${task.name}: ${result.cut} of ${result.count} prompts were cut from the left to fit the model`);
      }
    } finally {
      await model.close();
    }
    const json = resultsJson(results, {
      model: o.model,
      adapter: o.adapter ?? null,
      dtype: o.dtype,
      quantization: o.quantization ?? null,
      limit: o.limit ?? null,
      num_beams: o.numBeams ?? null,
    });
    if (o.output !== undefined) writeFileAtomic(join(o.output, "results.json"), [`${JSON.stringify(json, null, 2)}\n`]);
    print(o.json ? JSON.stringify(json, null, 2) : markdownTable(results));
    return 0;
  },
});
