/** An evaluation from settings to results: what `graft eval` and `graft runs reproduce` do. */
import { ConfigError } from "@graft/core/errors";
import { makeFolder } from "@graft/core/io";
import {
  createJudge,
  createProgramRunner,
  type EvalRun,
  runTask,
  scoringOf,
  type Services,
  type Task,
  type TaskResult,
} from "@graft/eval";
import type { Store } from "@graft/server/db";
import { join } from "node:path";
import { config } from "../config.ts";
import { counter } from "../progress.ts";
import { tasksOfFlag } from "./chosen-tasks.ts";
import { dataDirsOf } from "./data-dirs.ts";
import { type ContaminationChecks, contaminationChecks } from "./contamination.ts";
import { decodingOf } from "./decoding.ts";
import type { EvalSettings } from "./options.ts";
import { type Recorder, startRecord } from "./recorder.ts";
import { openSystems, type System, type Systems } from "./systems.ts";

export interface EvalContext {
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
  /** Undefined keeps no record. */
  readonly store: Store | undefined;
}

export interface EvalOutcome {
  readonly runs: readonly EvalRun[];
  /** Of the database, in the order of the runs. */
  readonly runIds: readonly string[];
}

/** Measures every system on every task. Results are recorded, and samples written, task by task, so that what is done is kept whatever comes. */
export async function evalRun(settings: EvalSettings, context: EvalContext): Promise<EvalOutcome> {
  const tasks = await tasksOfFlag("--tasks", settings.tasks, settings);
  const services = await openServices(settings, tasks);
  if (settings.output !== undefined) makeFolder(settings.output);
  const systems = await openSystems(settings, beamsOf(tasks, settings));
  try {
    const checks = contaminationChecks(settings, context);
    const runs: EvalRun[] = [];
    const runIds: string[] = [];
    for (const system of systems.all) {
      const recorder = await startRecord(context, settings, systems, system);
      try {
        runs.push(await measure(system, tasks, { settings, context, services, systems, recorder, checks }));
      } catch (error) {
        await recorder.fail(error);
        throw error;
      }
      await recorder.finish();
      if (recorder.id !== undefined) runIds.push(recorder.id);
    }
    return { runs, runIds };
  } finally {
    await systems.close();
  }
}

interface Tools {
  readonly settings: EvalSettings;
  readonly context: EvalContext;
  readonly services: Services;
  readonly systems: Systems;
  readonly recorder: Recorder;
  readonly checks: ContaminationChecks;
}

async function measure(system: System, tasks: readonly Task[], tools: Tools): Promise<EvalRun> {
  const { settings, context, recorder, systems, checks } = tools;
  const { log, signal } = context;
  const isOne = systems.all.length === 1;
  const label = isOne ? "" : `${system.name}: `;
  const outputDir = settings.output === undefined || isOne ? settings.output : join(settings.output, system.name);
  const date = new Date().toISOString();
  const results: TaskResult[] = [];
  const contamination: Record<string, readonly string[]> = {};
  await system.with(async (model) => {
    for (const task of tasks) {
      const show = counter(`${label}${task.name}`, log);
      const result = await runTask(task, model, {
        dataDirs: dataDirsOf(settings.dataDir),
        scoring: settings.scoring,
        limit: settings.limit,
        numFewshot: settings.numFewshot,
        seed: settings.seed,
        template: settings.promptTemplate ?? templateOf(system, task, settings, log),
        decoding: decodingOf(task, settings, systems.maxLength, log),
        outputDir,
        services: tools.services,
        signal,
        onProgress: (done, total, score) => show(done, total, score === undefined ? "" : `  ${score.toFixed(3)}`),
      });
      if (result.cut > 0)
        log(`${label}${task.name}: ${result.cut} of ${result.count} prompts were cut from the left to fit the model`);
      results.push(result);
      contamination[task.name] = await checks.of(result, system.training);
      for (const said of contamination[task.name]!) log(`${label}${task.name}: ${said}`);
      await recorder.add(result, contamination[task.name]!);
    }
  });
  return {
    system: system.name,
    model: settings.model,
    adapter: system.adapter ?? null,
    settings: shownSettings(settings),
    provenance: recorder.provenance,
    contamination,
    date,
    results,
  };
}

/** The adapter's own template, where nobody says otherwise and the task is not asked the paper's way. */
function templateOf(
  { training }: System,
  task: Task,
  { scoring }: EvalSettings,
  log: (line: string) => void,
): string | undefined {
  const own = training?.prompt_template;
  const { scoringName, scoring: asked } = scoringOf(task, scoring);
  const usual = asked.template;
  if (own === undefined || usual === undefined || scoringName === "paper" || own === usual) return undefined;
  log(`${task.name}: asked with the prompt template ${own}, which the adapter was trained with`);
  return own;
}

/** The most beams that a prompt of these tasks takes. */
function beamsOf(tasks: readonly Task[], { numBeams, scoring }: EvalSettings): number {
  return numBeams ?? Math.max(1, ...tasks.map((task) => scoringOf(task, scoring).scoring.numBeams ?? 1));
}

async function openServices(o: EvalSettings, tasks: readonly Task[]): Promise<Services> {
  const needs = new Set(tasks.map((task) => task.needs));
  if (needs.has("judge") && (o.judgeUrl === undefined) !== (o.judgeModel === undefined))
    throw new ConfigError("--judge-url and --judge-model go together");
  return {
    runProgram:
      needs.has("code-execution") && o.allowCodeExecution
        ? await createProgramRunner({ searchPath: config.searchPath, isolation: o.codeIsolation })
        : undefined,
    judgeName: needs.has("judge") ? `${o.judgeModel} at ${o.judgeUrl}` : undefined,
    askJudge:
      needs.has("judge") && o.judgeUrl !== undefined && o.judgeModel !== undefined
        ? createJudge({ url: o.judgeUrl, model: o.judgeModel, apiKey: config.judgeApiKey })
        : undefined,
  };
}

/** The settings without what only says where results go. */
export function shownSettings({
  output: _output,
  json: _json,
  db: _db,
  ...rest
}: EvalSettings): Record<string, unknown> {
  return Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
}
