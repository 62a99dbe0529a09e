/** One cell of a study: an adapter trained on one model for one task with one seed, and measured. What is done is kept in a folder that is named after all that it depends on. */
import { adapterVersion, baseOf, loadAdapter } from "@graft/adapters";
import { checkpointSteps, readTrainingRecord } from "@graft/adapters/train";
import { createLanguageModel, Generator } from "@graft/core/generate";
import { makeFolder, readJson, writeFileAtomic } from "@graft/core/io";
import type { BaseModel } from "@graft/core/models";
import { AdapterWeights } from "@graft/core/nn";
import { loadTokenizer } from "@graft/core/text";
import { adamwDefaults, TrainingDiverged } from "@graft/core/train";
import {
  findDataset,
  hashOf,
  isBinary,
  primaryFigure,
  runTask,
  scoringOf,
  type Task,
  type TaskResult,
  valueOf,
} from "@graft/eval";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { dataDirsOf } from "../eval/data-dirs.ts";
import { decodingOf } from "../eval/decoding.ts";
import type { ContaminationChecks } from "../eval/contamination.ts";
import { counter } from "../progress.ts";
import { runTraining } from "../train/run.ts";
import type { Cell, CellAdapter } from "./grid.ts";
import { type CellResult, type Score, scoreSchema, type Trained, trainedSchema } from "./results.ts";
import { isDescription, type Study } from "./schema.ts";

export interface CellTools {
  readonly study: Pick<Study, "training" | "evaluation">;
  readonly outputDir: string;
  /** Of the task that a cell is for. */
  readonly tasksOf: (cell: Cell) => readonly Task[];
  /** Of a file, and of a model folder. */
  readonly fileHash: (path: string) => Promise<string>;
  readonly modelHash: (folder: string) => Promise<string>;
  readonly contamination: ContaminationChecks;
  /** Folder of a cell's model. */
  readonly folderOf: (cell: Cell) => string;
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}

interface Places {
  /** Of the adapter; what it holds is one training's. */
  readonly folder: string;
  /** Of the measurement. */
  readonly measured: string;
}

const RESULT = "result.json";
const TRAINED = "trained.json";

/** The stored result of a cell. */
export async function storedResult(cell: Cell, tools: CellTools): Promise<CellResult | undefined> {
  const { folder, measured } = await placesOf(cell, tools);
  const trained = storedTraining(folder);
  if (trained && trained.failure !== null) return resultOf(cell, trained, []);
  const path = join(measured, RESULT);
  return existsSync(path) ? resultOf(cell, trained, readJson(path, z.array(scoreSchema))) : undefined;
}

/** Trains, or goes on where an earlier run was stopped, measures, and stores the result. Undefined if it was stopped. */
export async function runCell(cell: Cell, model: BaseModel, tools: CellTools): Promise<CellResult | undefined> {
  const { folder, measured } = await placesOf(cell, tools);
  const { adapter } = cell;
  const trained = adapter && (storedTraining(folder) ?? (await trainCell(cell, adapter, folder, model, tools)));
  if (adapter && !trained) return undefined;
  if (trained && trained.failure !== null) return resultOf(cell, trained, []);
  const scores = await measureCell(cell, adapter && folder, measured, model, tools).catch((error: unknown) => {
    // What was measured by then is kept.
    if (tools.signal.aborted) return undefined;
    throw error;
  });
  if (!scores) return undefined;
  writeFileAtomic(join(measured, RESULT), [`${JSON.stringify(scores, null, 2)}\n`]);
  return resultOf(cell, trained, scores);
}

async function placesOf(
  cell: Cell,
  { study, outputDir, tasksOf, fileHash, modelHash, folderOf }: CellTools,
): Promise<Places> {
  const { model, task, adapter, seed } = cell;
  const hash = (value: unknown): string => hashOf(JSON.stringify(value)).slice(0, 16);
  const base = { base: await modelHash(folderOf(cell)), dtype: model.dtype, quantization: model.quantization };
  const { learning_rate: _, ...recipe } = study.training;
  const training = adapter && {
    config: adapter.config,
    learningRate: adapter.learningRate,
    seed,
    data: await fileHash(task.train),
    rows: task.train_max_rows,
    recipe,
  };
  const { batch_size: _one, data_dir: folders, ...asked } = study.evaluation;
  const tasks = tasksOf(cell).map(async ({ name, version, dataset }) => ({
    name,
    version,
    data: await fileHash(findDataset(dataset, "test", dataDirsOf(folders))),
  }));
  const described = task.eval.filter(isDescription).map(fileHash);
  const measuring = [await Promise.all(tasks), await Promise.all(described), asked, recipe.prompt_template];
  const folder = join(
    outputDir,
    "cells",
    model.name,
    task.name,
    adapter ? `${adapter.method}-${hash([base, training])}` : `base-${hash(base)}`,
  );
  return { folder, measured: join(folder, `eval-${hash(measuring)}`) };
}

function storedTraining(folder: string): Trained | undefined {
  const path = join(folder, TRAINED);
  return existsSync(path) ? readJson(path, trainedSchema) : undefined;
}

function resultOf(
  { model, task, title, isReference, adapter, seed }: Cell,
  trained: Trained | undefined,
  scores: readonly Score[],
): CellResult {
  return {
    model: model.name,
    task: task.name,
    title,
    method: adapter?.method ?? null,
    placement: adapter?.placement ?? null,
    size_field: adapter?.sizeField ?? null,
    learning_rate: adapter?.learningRate ?? null,
    seed: seed ?? null,
    is_reference: isReference,
    config: adapter?.config ?? null,
    trainable_parameters: adapter?.trainableParameters ?? 0,
    trained: trained ?? null,
    scores,
  };
}

async function trainCell(
  { task, model: { path }, seed = 0 }: Cell,
  adapter: CellAdapter,
  folder: string,
  model: BaseModel,
  { study: { training }, signal, log }: CellTools,
): Promise<Trained | undefined> {
  let failure: string | null = null;
  try {
    const { reason } = await runTraining(
      model,
      loadTokenizer(model.path),
      {
        dataPath: task.train,
        maxRows: task.train_max_rows,
        outputDir: folder,
        adapterConfig: { ...adapter.config, base_model_name_or_path: path },
        promptTemplate: training.prompt_template,
        cutoffLen: training.cutoff_len,
        trainOnInputs: training.train_on_inputs,
        valSetSize: training.val_set_size,
        batchSize: training.batch_size,
        microBatchSize: training.micro_batch_size,
        groupByLength: training.group_by_length,
        packing: training.packing,
        epochs: training.num_epochs,
        maxSteps: training.max_steps,
        learningRate: adapter.learningRate,
        schedule: training.lr_scheduler_type,
        warmupSteps: training.warmup_steps,
        optimizer: { ...adamwDefaults, weightDecay: training.weight_decay },
        maxGradNorm: training.max_grad_norm,
        lossReduction: training.loss_reduction,
        gradientCheckpointing: training.use_gradient_checkpointing,
        seed,
        evalSteps: training.eval_step,
        saveSteps: SAVE_STEPS,
        saveTotalLimit: 1,
        resume: "ifAny",
      },
      { signal, log, everySteps: 50 },
    );
    if (reason === "stopped") return undefined;
  } catch (error) {
    // A rate that is too high is an outcome of a grid.
    if (!(error instanceof TrainingDiverged)) throw error;
    failure = error.message;
    log(failure);
  }
  const trained: Trained = { ...stepsOf(join(folder, "metrics.jsonl")), failure };
  writeFileAtomic(join(folder, TRAINED), [`${JSON.stringify(trained, null, 2)}\n`]);
  for (const step of checkpointSteps(folder))
    rmSync(join(folder, `checkpoint-${step}`), { recursive: true, force: true });
  return trained;
}

/** Between checkpoints, for what is killed; Ctrl-C saves one of its own. */
const SAVE_STEPS = 100;

const stepSchema = z.object({
  step: z.int(),
  loss: z.number().nullable(),
  tokens: z.number(),
  tokensPerSecond: z.number(),
});

/** What the metrics say of a whole run, however often it was stopped. */
function stepsOf(path: string): Omit<Trained, "failure"> {
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
  const steps = lines.flatMap((line) => stepSchema.safeParse(JSON.parse(line)).data ?? []);
  return {
    steps: steps.at(-1)?.step ?? 0,
    final_loss: steps.at(-1)?.loss ?? null,
    seconds: steps.reduce((sum, { tokens, tokensPerSecond }) => sum + tokens / tokensPerSecond, 0),
  };
}

async function measureCell(
  cell: Cell,
  adapter: string | undefined,
  outputDir: string,
  model: BaseModel,
  { study: { training, evaluation }, tasksOf, contamination, signal, log }: CellTools,
): Promise<Score[]> {
  makeFolder(outputDir);
  const tasks = tasksOf(cell);
  const beams = Math.max(...tasks.map((task) => scoringOf(task, evaluation.scoring).scoring.numBeams ?? 1));
  const generator = new Generator(model, { maxSequences: evaluation.batch_size * beams });
  const loaded = adapter === undefined ? undefined : loadAdapter(adapter, baseOf(model));
  const weights = loaded && new AdapterWeights(model.device, loaded.bound, loaded.values, adapter!);
  try {
    const name = `${cell.model.name}${adapter === undefined ? "" : ` + ${adapterVersion(adapter)}`}`;
    const measured = createLanguageModel({ name, generator, tokenizer: loadTokenizer(model.path), weights });
    const trained = adapter === undefined ? undefined : readTrainingRecord(adapter);
    const scores: Score[] = [];
    for (const task of tasks) {
      const show = counter(task.name, log, { isPassing: true });
      const result = await runTask(task, measured, {
        dataDirs: dataDirsOf(evaluation.data_dir),
        scoring: evaluation.scoring,
        limit: evaluation.limit,
        numFewshot: evaluation.num_fewshot,
        template: templateOf(task, evaluation, training),
        decoding: decodingOf(
          task,
          { scoring: evaluation.scoring, maxNewTokens: evaluation.max_new_tokens },
          model.config.maxLength,
          log,
        ),
        outputDir,
        signal,
        onProgress: (done, total, score) => show(done, total, score === undefined ? "" : `  ${score.toFixed(3)}`),
      });
      if (result.cut > 0)
        log(`${task.name}: ${result.cut} of ${result.count} prompts were cut from the left to fit the model`);
      scores.push(scoreOf(result, await contamination.of(result, trained)));
    }
    return scores;
  } finally {
    await generator.destroy();
    weights?.destroy();
  }
}

/** The training's, for the model alone too: all are asked the same. The paper's scoring has its own, and log-likelihoods may have none. */
function templateOf(
  task: Task,
  { scoring }: Study["evaluation"],
  { prompt_template }: Study["training"],
): string | undefined {
  const { scoringName, scoring: asked } = scoringOf(task, scoring);
  return asked.template === undefined || scoringName === "paper" ? undefined : prompt_template;
}

function scoreOf(result: TaskResult, contamination: readonly string[]): Score {
  const { value, stderr } = primaryFigure(result);
  const values = result.samples.map((sample) => valueOf(sample, result.primary));
  const areNumbers = values.every((value): value is number => typeof value === "number");
  return {
    task: result.task,
    version: result.version,
    scoring: result.scoring,
    metric: result.primary,
    value,
    stderr,
    count: result.count,
    dataset_sha256: result.dataset.sha256,
    prompts_hash: result.promptsHash,
    outcomes: areNumbers && isBinary(values) ? values.join("") : null,
    contamination: [...contamination],
    seconds: result.seconds,
  };
}
