/** One cell of a study: an adapter of one method, trained on one model for one task, and measured. */
import { adapterVersion, baseOf, loadAdapter } from "@graft/adapters";
import { createLanguageModel, Generator } from "@graft/core/generate";
import { makeFolder, readJson, writeFileAtomic } from "@graft/core/io";
import { type BaseModel, loadBaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import { runTask, taskFor } from "@graft/eval";
import type { Device } from "@graft/kernels";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { microData, microModels, microRecipe } from "../micro.ts";
import { checkpointSteps } from "../train/checkpoint.ts";
import { trainingProgress } from "../train/progress.ts";
import { trainRun } from "../train/run.ts";
import { configOf, recipes } from "./recipes.ts";

/** "base" is the model without an adapter. */
export interface Cell {
  readonly model: string;
  readonly method: string;
  readonly task: string;
}

const resultSchema = z.object({
  model: z.string(),
  method: z.string(),
  task: z.string(),
  acc: z.number(),
  acc_stderr: z.number(),
  count: z.number(),
  trainable_parameters: z.number(),
  steps: z.number(),
  learning_rate: z.number(),
  final_loss: z.number().nullable(),
  train_seconds: z.number(),
  /** Hash of all that the result depends on. */
  setting: z.string(),
});
export type CellResult = z.output<typeof resultSchema>;

export interface CellTools {
  readonly device: Device;
  readonly outputDir: string;
  readonly steps: number;
  readonly limit: number | undefined;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

const folderOf = (outputDir: string, { model, method, task }: Cell) => join(outputDir, "cells", model, method, task);

/** The stored result of a cell, if it is of these settings. */
export function storedResult(cell: Cell, tools: CellTools): CellResult | undefined {
  const path = join(folderOf(tools.outputDir, cell), "result.json");
  if (!existsSync(path)) return undefined;
  const stored = readJson(path, resultSchema);
  return stored.setting === settingOf(cell, tools) ? stored : undefined;
}

function settingOf({ model, method, task }: Cell, { steps, limit }: CellTools): string {
  const hash = createHash("sha256");
  const recipe = method === "base" ? undefined : { ...recipes[method], config: configOf(method), steps };
  hash.update(JSON.stringify({ model, task, version: taskFor(task).version, limit, recipe, microRecipe }));
  const files = [
    join(microModels, model, "model.safetensors"),
    ...["train", "test"].map((part) => join(microData, `${task}-${part}.json`)),
  ];
  for (const path of files) hash.update(readFileSync(path));
  return hash.digest("hex");
}

/** Trains, or goes on where an earlier run was stopped, measures, and stores the result. Undefined if it was stopped. */
export async function runCell(cell: Cell, tools: CellTools): Promise<CellResult | undefined> {
  const folder = folderOf(tools.outputDir, cell);
  const setting = settingOf(cell, tools);
  const path = join(microModels, cell.model);
  const model = loadBaseModel(tools.device, path);
  try {
    const trained = cell.method === "base" ? undefined : await trainCell(cell, folder, setting, model, tools);
    if (trained?.reason === "stopped") return undefined;
    const { acc, accStderr, count } = await measureCell(cell, trained && folder, model, tools);
    const result: CellResult = {
      ...cell,
      acc,
      acc_stderr: accStderr,
      count,
      trainable_parameters: trained?.trainableParameters ?? 0,
      steps: trained?.steps ?? 0,
      learning_rate: recipes[cell.method]?.learningRate ?? 0,
      final_loss: trained?.losses.at(-1) ?? null,
      train_seconds: trained?.seconds ?? 0,
      setting,
    };
    makeFolder(folder);
    writeFileAtomic(join(folder, "result.json"), [`${JSON.stringify(result, null, 2)}\n`]);
    return result;
  } finally {
    model.destroy();
  }
}

async function trainCell(cell: Cell, folder: string, setting: string, model: BaseModel, tools: CellTools) {
  // What lies there belongs to other settings, unless it says otherwise.
  const mark = join(folder, "setting");
  const isSame = existsSync(mark) && readFileSync(mark, "utf8") === setting;
  if (!isSame) rmSync(folder, { recursive: true, force: true });
  const hasCheckpoint = isSame && checkpointSteps(folder).length > 0;
  makeFolder(folder);
  writeFileAtomic(mark, [setting]);
  const started = performance.now();
  const result = await trainRun(
    model,
    loadTokenizer(model.path),
    {
      ...microRecipe,
      dataPath: join(microData, `${cell.task}-train.json`),
      outputDir: folder,
      adapterConfig: { ...configOf(cell.method), base_model_name_or_path: cell.model },
      maxSteps: tools.steps,
      learningRate: recipes[cell.method]!.learningRate,
      saveSteps: Math.max(1, Math.floor(tools.steps / 3)),
      ...(hasCheckpoint ? { resumeFromCheckpoint: "true" } : {}),
    },
    { progress: trainingProgress(tools.log, 50), signal: tools.signal },
  );
  return { ...result, seconds: (performance.now() - started) / 1000 };
}

async function measureCell(cell: Cell, adapter: string | undefined, model: BaseModel, tools: CellTools) {
  const loaded = adapter === undefined ? undefined : loadAdapter(adapter, baseOf(model));
  const weights = loaded && new AdapterWeights(tools.device, loaded.bound, loaded.values, adapter!);
  const generator = new Generator(model);
  try {
    const name = `${cell.model}${adapter === undefined ? "" : ` + ${adapterVersion(adapter)}`}`;
    const tokenizer = loadTokenizer(model.path);
    return await runTask(taskFor(cell.task), createLanguageModel({ name, generator, tokenizer, weights }), {
      dataDirs: [microData],
      limit: tools.limit,
      batchSize: 16,
      signal: tools.signal,
    });
  } finally {
    await generator.destroy();
    weights?.destroy();
  }
}
