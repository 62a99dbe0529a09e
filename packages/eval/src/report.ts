/** Results as lm-evaluation-harness writes them, and as a table for people. */
import type { Figure } from "./metrics.ts";
import { hashOf } from "./hash.ts";
import { filterOf, primaryFigure, type TaskResult } from "./runner.ts";
import { isBinary, mcnemar, mean, pairedBootstrap } from "./statistics.ts";
import { type Sample, valueOf } from "./samples.ts";

/** A base or an adapter on some tasks: what every report is made of. */
export interface EvalRun {
  /** What the report calls it. */
  readonly system: string;
  readonly model: string;
  readonly adapter: string | null;
  /** Everything that was asked for. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** What the numbers depend on: hashes, device, versions. */
  readonly provenance: Readonly<Record<string, unknown>>;
  /** Lines about scores that training data may have touched, by task. */
  readonly contamination: Readonly<Record<string, readonly string[]>>;
  /** ISO 8601. */
  readonly date: string;
  readonly results: readonly TaskResult[];
}

/** Unweighted mean over the tasks of a group, as the paper's tables have it. */
export interface GroupFigure {
  readonly group: string;
  readonly tasks: readonly string[];
  readonly value: number;
  /** Of the mean of independent figures: sqrt(sum of squares) / count. */
  readonly stderr: number;
}

/** Means of the groups that have more than one of the tasks. */
export function groupFigures(results: readonly TaskResult[]): GroupFigure[] {
  const groups = [...new Set(results.flatMap((result) => result.groups))];
  return groups.flatMap((group) => {
    const own = results.filter((result) => result.groups.includes(group));
    if (own.length < 2) return [];
    const figures = own.map(primaryFigure);
    const stderr = Math.sqrt(figures.reduce((sum, f) => sum + f.stderr ** 2, 0)) / figures.length;
    return [{ group, tasks: own.map((r) => r.task), value: mean(figures.map((f) => f.value)), stderr }];
  });
}

/** The harness's results file, with what it has no place for under `graft`. */
export function resultsJson(run: EvalRun) {
  const { results } = run;
  const byTask = <T>(f: (result: TaskResult) => T) =>
    Object.fromEntries(results.map((result) => [result.task, f(result)]));
  const groups = groupFigures(results);
  return {
    results: byTask(({ task, scoring, figures, count }) => ({
      name: task,
      alias: task,
      sample_len: count,
      ...flatFigures(figures, filterOf(scoring)),
    })),
    groups: Object.fromEntries(
      groups.map(({ group, value, stderr }) => [
        group,
        { alias: group, "mean,none": value, "mean_stderr,none": stderr },
      ]),
    ),
    group_subtasks: Object.fromEntries(groups.map(({ group, tasks }) => [group, tasks])),
    configs: byTask((r) => ({
      task: r.task,
      dataset_path: r.dataset.path,
      num_fewshot: r.numFewshot,
      metric_list: Object.keys(r.figures).map((metric) => ({ metric })),
      metadata: { version: r.version, scoring: r.scoring, template: r.template ?? null, decoding: r.decoding },
    })),
    versions: byTask((r) => r.version),
    "n-shot": byTask((r) => r.numFewshot),
    higher_is_better: byTask((r) =>
      Object.fromEntries(Object.entries(r.figures).map(([name, figure]) => [name, figure.higherIsBetter])),
    ),
    "n-samples": byTask((r) => ({ original: r.total, effective: r.count })),
    config: { model: run.model, adapter: run.adapter, ...run.settings },
    date: Date.parse(run.date) / 1000,
    task_hashes: byTask(({ samples }) =>
      hashOf(samples.map((s) => s.doc_hash + s.prompt_hash + s.target_hash).join("")),
    ),
    model_source: "graft",
    model_name: run.system,
    model_name_sanitized: run.system.replaceAll(/[^\w.-]/g, "_"),
    total_evaluation_time_seconds: String(results.reduce((sum, r) => sum + r.seconds, 0)),
    graft: {
      system: run.system,
      date: run.date,
      ...run.provenance,
      tasks: byTask((r) => ({
        scoring: r.scoring,
        primary: r.primary,
        intervals: Object.fromEntries(Object.entries(r.figures).map(([name, figure]) => [name, figure.interval])),
        cut: r.cut,
        dataset_sha256: r.dataset.sha256,
        prompts_hash: r.promptsHash,
        shots_from: r.shotSplit ?? null,
        seed: r.seed,
        seconds: r.seconds,
        contamination: run.contamination[r.task] ?? [],
      })),
    },
  };
}

function flatFigures(figures: Readonly<Record<string, Figure>>, filter: string): Record<string, number> {
  return Object.fromEntries(
    Object.entries(figures).flatMap(([name, { value, stderr }]) => [
      [`${name},${filter}`, value],
      [`${name}_stderr,${filter}`, stderr],
    ]),
  );
}

/** Two runs on a task over the docs that both have. */
export interface Comparison {
  readonly task: string;
  readonly metric: string;
  readonly a: string;
  readonly b: string;
  /** Docs that both were asked. */
  readonly count: number;
  /** Mean of b minus mean of a over them. */
  readonly difference: number;
  readonly interval: readonly [number, number];
  readonly pValue: number;
  readonly test: "McNemar" | "paired bootstrap";
}

/** Compares every pair of runs on every task that both have: zeros and ones by McNemar's test, other means by a paired bootstrap. */
export function compareRuns(runs: readonly EvalRun[]): Comparison[] {
  return runs.flatMap((a, i) =>
    runs.slice(i + 1).flatMap((b) =>
      a.results.flatMap((left) => {
        const right = b.results.find((r) => r.task === left.task && r.scoring === left.scoring);
        const found = right && compareResults(left, right);
        return found ? [{ ...found, a: a.system, b: b.system }] : [];
      }),
    ),
  );
}

function compareResults(left: TaskResult, right: TaskResult): Omit<Comparison, "a" | "b"> | undefined {
  const metric = left.primary;
  const others = new Map(right.samples.map((sample) => [key(sample), sample]));
  const pairs = left.samples.flatMap((sample) => {
    const other = others.get(key(sample));
    return other ? [[valueOf(sample, metric), valueOf(other, metric)] as const] : [];
  });
  const numbers = pairs.filter((pair): pair is [number, number] => pair.every((value) => typeof value === "number"));
  if (numbers.length === 0) return undefined;
  const [a, b] = [numbers.map(([x]) => x), numbers.map(([, y]) => y)];
  const { difference, interval, pValue } = pairedBootstrap(a, b);
  const isRightOrWrong = isBinary(numbers.flat());
  return {
    task: left.task,
    metric,
    count: numbers.length,
    difference,
    interval,
    pValue: isRightOrWrong ? mcnemar(a, b).pValue : pValue,
    test: isRightOrWrong ? "McNemar" : "paired bootstrap",
  };
}

const key = (sample: Sample): string => `${sample.doc_id} ${sample.doc_hash}`;

const fixed = (x: number): string => x.toFixed(4);
const row = (cells: readonly (string | number)[]): string => `| ${cells.join(" | ")} |`;

/** Every figure of every run, group means, and what the paired comparisons say. */
export function markdownTable(runs: readonly EvalRun[], comparisons: readonly Comparison[]): string {
  const named = runs.length > 1;
  const cells = (run: EvalRun, rest: readonly (string | number)[]) => (named ? [run.system, ...rest] : rest);
  const head = [
    ...(named ? ["System"] : []),
    "Tasks",
    "Version",
    "Scoring",
    "n-shot",
    "n",
    "Metric",
    "Value",
    "Stderr",
    "95 %",
  ];
  const lines = runs.flatMap((run) => [
    ...run.results.flatMap((r) =>
      Object.entries(r.figures).map(([name, { value, stderr, interval }]) =>
        row(
          cells(run, [
            `${r.task}${run.contamination[r.task]?.length ? " (contaminated)" : ""}`,
            r.version,
            r.scoring,
            r.numFewshot,
            r.count,
            name,
            fixed(value),
            `± ${fixed(stderr)}`,
            `${fixed(interval[0])} to ${fixed(interval[1])}`,
          ]),
        ),
      ),
    ),
    ...groupFigures(run.results).map(({ group, tasks, value, stderr }) =>
      row(cells(run, [`mean of ${group}`, "", "", "", tasks.length, "mean", fixed(value), `± ${fixed(stderr)}`, ""])),
    ),
  ]);
  const notes = runs.flatMap((run) =>
    Object.entries(run.contamination).flatMap(([task, said]) => said.map((text) => `- ${task}: ${text}`)),
  );
  return [
    row(head),
    row(head.map(() => "---")),
    ...lines,
    ...(notes.length > 0 ? ["", "Contamination:", ...new Set(notes)] : []),
    ...comparisonLines(comparisons),
  ].join("\n");
}

/** A comparison's row in a table under COMPARISON_HEADS. */
export function comparisonCells(c: Comparison): (string | number)[] {
  const p = c.pValue < 0.0001 ? "< 0.0001" : fixed(c.pValue);
  const interval = `${fixed(c.interval[0])} to ${fixed(c.interval[1])}`;
  return [c.task, c.a, c.b, c.count, fixed(c.difference), interval, p, c.test, verdict(c)];
}

export const COMPARISON_HEADS = ["Task", "A", "B", "n", "B - A", "95 %", "p", "Test", "Verdict at 5 %"];

function comparisonLines(comparisons: readonly Comparison[]): string[] {
  if (comparisons.length === 0) return [];
  const rows = comparisons.map((c) => row(comparisonCells(c)));
  return ["", row(COMPARISON_HEADS), row(COMPARISON_HEADS.map(() => "---")), ...rows];
}

/** What a comparison says at the 5 % level. */
function verdict({ pValue, difference, a, b }: Comparison): string {
  if (pValue >= 0.05) return "no difference shown";
  return difference > 0 ? `${b} is better` : `${a} is better`;
}
