/** Runs a task on a model: questions, answers, judgements, figures. */
import { findPromptTemplate } from "@graft/core/data";
import { ConfigError } from "@graft/core/errors";
import type { GenerateOptions, GenerateRequest, LanguageModel } from "@graft/core/generate";
import { makeFolder } from "@graft/core/io";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Doc } from "./doc.ts";
import { findDataset, hasDataset } from "./find-dataset.ts";
import { hashOf } from "./hash.ts";
import { type Figure, figureOf, metricFor } from "./metrics.ts";
import { type Sample, SampleFile, valueOf } from "./samples.ts";
import { drawShots } from "./shots.ts";
import type { Split } from "./dataset.ts";
import type { Answer, GenerateQuestion, Judged, Question, Scoring, ScoringName, Services, Task } from "./task.ts";

export interface RunOptions {
  /** Folders that are searched for the data set's files. */
  readonly dataDirs: readonly string[];
  /** Default: fixed, or the first that the task has. */
  readonly scoring?: ScoringName | undefined;
  /** Only the first docs. */
  readonly limit?: number | undefined;
  /** Solved problems before each question, from the training set where there is one. */
  readonly numFewshot?: number | undefined;
  /** Of the choice of shots, the bootstrap and, added to the task's own, of sampling. */
  readonly seed?: number | undefined;
  /** Name of a prompt template; default: the scoring's. */
  readonly template?: string | undefined;
  /** Instead of what the task says. */
  readonly decoding?: Partial<GenerateOptions> | undefined;
  /** Folder for samples; undefined keeps nothing and cannot be resumed. */
  readonly outputDir?: string | undefined;
  readonly services?: Services | undefined;
  readonly signal?: AbortSignal | undefined;
  /** `score`: the mean of the task's figure so far, where it is a mean. */
  readonly onProgress?: ((done: number, total: number, score: number | undefined) => void) | undefined;
}

export interface TaskResult {
  readonly task: string;
  readonly version: number;
  readonly groups: readonly string[];
  readonly scoring: ScoringName;
  readonly numFewshot: number;
  /** Where the shots come from, if there are any. */
  readonly shotSplit: Split | undefined;
  /** Undefined where the scoring needs none. */
  readonly template: string | undefined;
  /** What was changed of the task's own decoding. */
  readonly decoding: Partial<GenerateOptions>;
  readonly seed: number;
  /** Docs that were asked, and docs of the file. */
  readonly count: number;
  readonly total: number;
  /** Docs that lost the beginning of a prompt because the model is too short for it. */
  readonly cut: number;
  /** By metric. */
  readonly figures: Readonly<Record<string, Figure>>;
  /** The metric that stands for the task. */
  readonly primary: string;
  readonly dataset: { readonly name: string; readonly path: string; readonly sha256: string };
  /** Over all prompts: two runs with the same hash asked the same. */
  readonly promptsHash: string;
  readonly samples: readonly Sample[];
  readonly seconds: number;
}

/** The figure that stands for a task. */
export const primaryFigure = ({ figures, primary }: Pick<TaskResult, "figures" | "primary">): Figure =>
  figures[primary]!;

/** A doc on its way. */
interface Asked {
  readonly index: number;
  readonly doc: Doc;
  readonly shots: readonly Doc[];
  readonly questions: Question[];
  readonly answers: Answer[];
  /** Questions without an answer. */
  open: number;
}

/**
 * Asks everything that an earlier run into the same folder has not asked, and judges it. Throws DataError if the task's file is not found or damaged,
 * ConfigError for a scoring that the task does not have or a service that it needs, AbortError when the signal comes; what was judged by then is kept.
 */
export async function runTask(task: Task, model: LanguageModel, options: RunOptions): Promise<TaskResult> {
  const started = performance.now();
  const { scoringName, scoring } = scoringOf(task, options.scoring);
  assertServices(task, options.services ?? {});
  const { numFewshot = 0, seed = 0, decoding = {} } = options;
  if (numFewshot > 0 && scoringName === "paper")
    throw new ConfigError(
      `task ${task.name}: the paper's scoring knows no shots; leave out num-fewshot or choose fixed`,
    );
  const path = findDataset(task.dataset, "test", options.dataDirs);
  const docs = await task.dataset.read(path);
  const chosen = docs.slice(0, options.limit ?? docs.length);
  const pool = numFewshot > 0 ? await shotPool(task, options.dataDirs, docs) : undefined;
  const templateName = options.template ?? scoring.template;
  const template = templateName === undefined ? undefined : findPromptTemplate(templateName);
  const sha256 = hashOf(readFileSync(path));
  const setting = hashOf(
    JSON.stringify([
      model.name,
      [task.name, task.version, sha256],
      [scoringName, templateName, decoding, numFewshot, seed],
      ...(task.needs === "judge" ? [options.services?.judgeName] : []),
    ]),
  );
  const file = options.outputDir === undefined ? undefined : openSamples(options.outputDir, task, scoringName, setting);
  const done = file?.done ?? new Map<number, Sample>();
  const score = runningMean(scoring.metrics[0]!);
  for (const sample of done.values()) score.add(sample);
  const progress = (): void => options.onProgress?.(done.size, chosen.length, score.value);

  const shotsOf = (doc: Doc, index: number) =>
    pool ? drawShots(pool.docs, numFewshot, { doc, index, task: task.name, seed }) : [];
  const left = chosen.flatMap((doc, index): Asked[] =>
    done.has(index) ? [] : [{ index, doc, shots: shotsOf(doc, index), questions: [], answers: [], open: 0 }],
  );
  const nameOf = ({ index }: Asked) => `${path}: row ${index + 1}`;
  progress();
  await askAll(left, model, {
    ask: ({ doc, shots, answers }) =>
      answers.length === 0
        ? scoring.questions(doc, { template, shots })
        : (scoring.furtherQuestions?.(doc, { template, shots }, answers) ?? []),
    nameOf,
    toRequest: (question, asked) => toRequest(question, decoding, seed, nameOf(asked)),
    judge: async (asked, signal) => {
      const judged = await scoring.judge(
        asked.doc,
        asked.answers,
        { ...options.services, signal },
        { template, shots: asked.shots },
      );
      const sample = sampleOf(task, scoringName, scoring, asked, judged, decoding);
      if (file) file.add(sample);
      else done.set(asked.index, sample);
      score.add(sample);
      progress();
    },
    signal: options.signal,
  });
  file?.finish();

  const samples = chosen.map((_, i) => done.get(i)!);
  const figures = Object.fromEntries(
    scoring.metrics.map((name) => [
      name,
      figureOf(
        metricFor(name),
        samples.map((s) => valueOf(s, name)),
        { seed },
      ),
    ]),
  );
  return {
    task: task.name,
    version: task.version,
    groups: task.groups,
    scoring: scoringName,
    numFewshot,
    shotSplit: pool?.split,
    template: templateName,
    decoding,
    seed,
    count: samples.length,
    total: docs.length,
    cut: samples.filter((sample) => sample.cut_tokens !== undefined).length,
    figures,
    primary: scoring.metrics[0]!,
    dataset: { name: task.dataset.name, path, sha256 },
    promptsHash: hashOf(samples.map((sample) => sample.prompt_hash).join("\n")),
    samples,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The way of scoring that is asked for, or fixed, or the task's first. Throws ConfigError for one that the task does not have. */
export function scoringOf(task: Task, asked: ScoringName | undefined): { scoringName: ScoringName; scoring: Scoring } {
  const known = Object.keys(task.scorings) as ScoringName[];
  const scoringName = asked ?? (known.includes("fixed") ? "fixed" : known[0]!);
  const scoring = task.scorings[scoringName];
  if (!scoring) throw new ConfigError(`task ${task.name} has no scoring "${scoringName}"; it has ${known.join(", ")}`);
  return { scoringName, scoring };
}

function assertServices({ name, needs }: Task, { runProgram, askJudge }: Services): void {
  if (needs === "code-execution" && !runProgram)
    throw new ConfigError(`task ${name} runs programs that the model writes; allow it with --allow-code-execution`);
  if (needs === "judge" && !askJudge)
    throw new ConfigError(`task ${name} needs a model that judges; name one with --judge-url and --judge-model`);
}

async function shotPool(
  task: Task,
  folders: readonly string[],
  docs: readonly Doc[],
): Promise<{ docs: readonly Doc[]; split: Split }> {
  for (const split of ["train", "validation"] as const) {
    if (hasDataset(task.dataset, split, folders))
      return { docs: await task.dataset.read(findDataset(task.dataset, split, folders)), split };
  }
  return { docs, split: "test" };
}

interface Asking {
  /** The questions that follow these answers. */
  ask(asked: Asked): readonly Question[];
  /** What errors call a doc. */
  nameOf(asked: Asked): string;
  toRequest(question: GenerateQuestion, asked: Asked): GenerateRequest;
  judge(asked: Asked, signal: AbortSignal): Promise<void>;
  readonly signal: AbortSignal | undefined;
}

/** Round after round, all open questions in one go, so that the model's batches stay full; a doc is judged when it has its last answer. */
async function askAll(all: readonly Asked[], model: LanguageModel, asking: Asking): Promise<void> {
  // A judgement that fails ends the rest too.
  const failed = new AbortController();
  const signal = AbortSignal.any([failed.signal, ...(asking.signal ? [asking.signal] : [])]);
  const judging = new Set<Promise<void>>();
  let round = all.map((asked) => ({ asked, questions: asking.ask(asked) }));
  try {
    while (round.length > 0) {
      const further: typeof round = [];
      const open = round.flatMap(({ asked, questions }) => {
        const from = asked.questions.length;
        asked.questions.push(...questions);
        asked.open = questions.length;
        return questions.map((question, i) => ({ asked, question, place: from + i }));
      });
      const receive = ({ asked, place }: (typeof open)[number], answer: Answer): void => {
        asked.answers[place] = answer;
        asked.open--;
        if (asked.open > 0) return;
        const questions = asking.ask(asked);
        if (questions.length > 0) {
          further.push({ asked, questions });
          return;
        }
        const judgement = asking.judge(asked, signal);
        judging.add(judgement);
        judgement.then(
          () => judging.delete(judgement),
          (error: unknown) => failed.abort(error),
        );
      };
      const generated = open.flatMap((one) =>
        one.question.kind === "generate" ? [{ ...one, question: one.question }] : [],
      );
      const scored = open.flatMap((one) =>
        one.question.kind === "loglikelihood" ? [{ ...one, question: one.question }] : [],
      );
      if (generated.length > 0)
        await model.generate(
          generated.map(({ question, asked }) => asking.toRequest(question, asked)),
          {
            signal,
            onResult: (i, { sequences, cutTokens }) =>
              receive(generated[i]!, { kind: "generate", texts: sequences.map(({ text }) => text), cutTokens }),
          },
        );
      if (scored.length > 0)
        await model.loglikelihood(
          scored.map(({ question: { context, continuation }, asked }) => ({
            context,
            continuation,
            truncation: "left",
            name: asking.nameOf(asked),
          })),
          { signal, onResult: (i, result) => receive(scored[i]!, { kind: "loglikelihood", ...result }) },
        );
      round = further;
    }
  } catch (error) {
    await Promise.allSettled(judging);
    throw failed.signal.aborted ? failed.signal.reason : error;
  }
  await Promise.allSettled(judging);
  if (failed.signal.aborted) throw failed.signal.reason;
}

function toRequest(
  question: GenerateQuestion,
  decoding: Partial<GenerateOptions>,
  seed: number,
  name: string,
): GenerateRequest {
  const { kind: _, ...own } = question;
  return { ...own, ...decoding, seed: (question.seed ?? 0) + seed, name, truncation: "left" };
}

function openSamples(outputDir: string, task: Task, scoring: ScoringName, setting: string): SampleFile {
  makeFolder(outputDir);
  return new SampleFile(join(outputDir, sampleFileName(task.name, scoring)), setting);
}

/** Where a task's samples stand in an output folder. */
export function sampleFileName(task: string, scoring: ScoringName): string {
  return `samples_${task}${scoring === "fixed" ? "" : `_${scoring}`}.jsonl`;
}

/** The mean of a metric over the samples so far; undefined for none, and for a metric that is no mean. */
function runningMean(name: string) {
  const isMean = metricFor(name).kind === "mean";
  let sum = 0;
  let count = 0;
  return {
    add(sample: Sample): void {
      if (!isMean) return;
      sum += valueOf(sample, name) as number; // a mean's values are numbers
      count++;
    },
    get value(): number | undefined {
      return count === 0 ? undefined : sum / count;
    },
  };
}

/** lm-evaluation-harness's record of a doc. */
function sampleOf(
  task: Task,
  scoringName: ScoringName,
  scoring: Scoring,
  { index, doc, questions, answers }: Asked,
  { filtered, values, detail, target = task.target(doc) }: Judged,
  decoding: Partial<GenerateOptions>,
): Sample {
  const responses = answers.map(responsesOf);
  const [first] = questions;
  const cutTokens = answers.reduce((sum, answer) => sum + answer.cutTokens, 0);
  return {
    doc_id: index,
    doc,
    target,
    arguments: Object.fromEntries(questions.map((question, i) => [`gen_args_${i}`, argumentsOf(question, decoding)])),
    resps: responses,
    filtered_resps: filtered ? [...filtered] : responses.map(([one]) => one),
    filter: filterOf(scoringName),
    metrics: [...scoring.metrics],
    doc_hash: hashOf(JSON.stringify(doc, null, 2)),
    prompt_hash: hashOf(first!.kind === "generate" ? first!.prompt : first!.context),
    target_hash: hashOf(target),
    ...values,
    ...(detail === undefined ? {} : { detail }),
    ...(cutTokens > 0 ? { cut_tokens: cutTokens } : {}),
  };
}

/** Texts; of a log-likelihood the sum and whether it is greedy's, as the harness writes them. */
function responsesOf(answer: Answer): unknown[] {
  return answer.kind === "generate"
    ? [...answer.texts]
    : [[String(answer.logprob), answer.isGreedy ? "True" : "False"]];
}

/** What stands after the comma in a result's name: how the answer was read. */
export function filterOf(scoring: ScoringName): string {
  return scoring === "loglikelihood" ? "none" : scoring;
}

function argumentsOf(question: Question, decoding: Partial<GenerateOptions>): Record<string, unknown> {
  if (question.kind === "loglikelihood") return { arg_0: question.context, arg_1: question.continuation };
  const { prompt, kind: _, ...own } = question;
  const { stop, maxNewTokens, numBeams, temperature = 0, ...rest } = { ...own, ...decoding };
  return {
    arg_0: prompt,
    arg_1: {
      until: stop ?? [],
      max_gen_toks: maxNewTokens,
      do_sample: temperature > 0,
      temperature,
      num_beams: numBeams ?? 1,
      ...rest,
    },
  };
}
