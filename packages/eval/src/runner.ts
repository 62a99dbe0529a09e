/** Runs a task on a model: prompts, responses, accuracy. */
import { findPromptTemplate, readRows, type Row } from "@graft/core/data";
import { DataError } from "@graft/core/errors";
import type { GenerateRequest, GenerateResult, LanguageModel } from "@graft/core/generate";
import { makeFolder } from "@graft/core/io";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Sample, SampleFile } from "./samples.ts";
import type { Task } from "./task.ts";

export interface RunOptions {
  /** Folders that are searched for the task's file. */
  readonly dataDirs: readonly string[];
  readonly limit?: number | undefined;
  readonly batchSize: number;
  /** Overrides the task's decoding. */
  readonly numBeams?: number | undefined;
  readonly maxNewTokens?: number | undefined;
  /** Folder for samples; undefined keeps nothing and cannot be resumed. */
  readonly outputDir?: string | undefined;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number, correct: number) => void;
}

export interface TaskResult {
  readonly task: string;
  readonly version: number;
  /** Rows that were run, and rows of the file. */
  readonly count: number;
  readonly total: number;
  readonly acc: number;
  /** sqrt(acc (1 - acc) / (count - 1)), the standard error of a mean of zeros and ones. */
  readonly accStderr: number;
  /** Prompts that lost their beginning because the model is too short for them. */
  readonly cut: number;
  readonly samples: readonly Sample[];
}

/** Throws DataError if the task's file is not found or a row has no answer. */
export async function runTask(task: Task, model: LanguageModel, options: RunOptions): Promise<TaskResult> {
  const path = findFile(task, options.dataDirs);
  const rows = await readRows(path, { require: ["answer"] });
  const chosen = rows.slice(0, options.limit ?? rows.length);
  const template = findPromptTemplate(task.template);
  const decoding = {
    ...task.decoding,
    ...(options.numBeams === undefined ? {} : { numBeams: options.numBeams }),
    ...(options.maxNewTokens === undefined ? {} : { maxNewTokens: options.maxNewTokens }),
  };
  const setting = sha256(JSON.stringify([model.name, task.name, task.version, task.template, decoding]));
  const file = options.outputDir === undefined ? undefined : openSamples(options.outputDir, task, setting);
  const done = file?.done ?? new Map<number, Sample>();
  const correct = () => [...done.values()].reduce((sum, sample) => sum + sample.acc, 0);
  const left = chosen.map((_, i) => i).filter((i) => !done.has(i));
  options.onProgress?.(chosen.length - left.length, chosen.length, correct());
  for (let begin = 0; begin < left.length; begin += options.batchSize) {
    options.signal?.throwIfAborted();
    const batch = left.slice(begin, begin + options.batchSize);
    const requests = batch.map((i): GenerateRequest => ({
      prompt: template.prompt(chosen[i]!),
      name: `${path}: row ${i + 1}`,
      ...decoding,
      stop: [template.restart],
      truncation: "left",
    }));
    const results = await model.generate(requests, options.signal ? { signal: options.signal } : {});
    for (const [n, i] of batch.entries()) {
      const sample = sampleOf(task, chosen[i]!, i, requests[n]!, results[n]!);
      if (file) file.add(sample);
      else done.set(i, sample);
    }
    options.onProgress?.(chosen.length - left.length + begin + batch.length, chosen.length, correct());
  }
  const samples = chosen.map((_, i) => done.get(i)!);
  const acc = samples.reduce((sum, sample) => sum + sample.acc, 0) / samples.length;
  const accStderr = samples.length > 1 ? Math.sqrt((acc * (1 - acc)) / (samples.length - 1)) : 0;
  const cut = samples.filter((sample) => sample.cut_tokens !== undefined).length;
  const counts = { count: samples.length, total: rows.length, cut };
  return { task: task.name, version: task.version, ...counts, acc, accStderr, samples };
}

function openSamples(outputDir: string, task: Task, setting: string): SampleFile {
  makeFolder(outputDir);
  return new SampleFile(join(outputDir, `samples_${task.name}.jsonl`), setting);
}

function findFile(task: Task, folders: readonly string[]): string {
  const places = folders.flatMap((folder) => [join(folder, task.file), join(folder, `${task.file}.gz`)]);
  const found = places.find((place) => existsSync(place));
  if (found === undefined)
    throw new DataError(`task ${task.name}: ${task.file} is in none of ${folders.join(", ")}; give --data-dir`);
  return found;
}

function sampleOf(task: Task, row: Row, id: number, request: GenerateRequest, result: GenerateResult): Sample {
  const response = result.sequences[0]!.text;
  const target = task.target(row);
  const extracted = task.extract(response);
  const { prompt, truncation: _, name: _name, ...decoding } = request;
  return {
    doc_id: id,
    doc: row,
    target,
    arguments: [[prompt, decoding]],
    resps: [[response]],
    filtered_resps: [extracted],
    filter: "none",
    metrics: ["acc"],
    doc_hash: sha256(JSON.stringify(row)),
    prompt_hash: sha256(String(prompt)),
    target_hash: sha256(target),
    acc: task.isCorrect(extracted, target) ? 1 : 0,
    ...(result.cutTokens > 0 ? { cut_tokens: result.cutTokens } : {}),
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
