/** How two runs differ: settings, figures, and whether one really beats the other. */
import { isBinary, mcnemar, mean, pairedBootstrap } from "@graft/eval";
import type { Item, ResultRow, RunDetails } from "@graft/server/db";
import { p, share, signed } from "./run-text.ts";

export interface RunDiff {
  readonly settings: readonly { readonly name: string; readonly a: unknown; readonly b: unknown }[];
  readonly tasks: readonly TaskDiff[];
}

export interface TaskDiff {
  readonly task: string;
  /** The primary metric; undefined where the two have different ones, or one run has not the task. */
  readonly metric: string | undefined;
  readonly a: number | undefined;
  readonly b: number | undefined;
  /** b - a. */
  readonly difference: number | undefined;
  readonly paired: Paired | undefined;
  /** In words, whether B beats A. */
  readonly verdict: string;
}

/** Over the docs that both were asked. */
export interface Paired {
  readonly test: "McNemar" | "paired bootstrap";
  readonly docs: number;
  readonly a: number;
  readonly b: number;
  readonly difference: number;
  readonly pValue: number;
  /** Docs that are right only in one of the two; of McNemar's test. */
  readonly onlyA?: number;
  readonly onlyB?: number;
  /** 95 %, of the difference; of the bootstrap. */
  readonly interval?: readonly [number, number];
}

/** The level at which a difference counts. */
const LEVEL = 0.05;

/** Settings in the order of their names, then what the numbers depend on; tasks in the order of A, then those that only B has. */
export function diffRuns(a: RunDetails, b: RunDetails): RunDiff {
  const tasks = new Set([...a.results, ...b.results].map(({ task }) => task));
  const resultOf = (run: RunDetails, task: string) => run.results.find((result) => result.task === task);
  return {
    settings: differing(a, b),
    tasks: [...tasks].map((task) => diffTask(task, resultOf(a, task), resultOf(b, task))),
  };
}

function differing(a: RunDetails, b: RunDetails): RunDiff["settings"] {
  const names = [...new Set([...Object.keys(a.settings), ...Object.keys(b.settings)])].toSorted();
  const settings = names.map((name) => ({ name, a: a.settings[name], b: b.settings[name] }));
  const depends = provenanceNames.map(([field, name]) => ({ name, a: a[field], b: b[field] }));
  return [...settings, ...depends].filter((one) => JSON.stringify(one.a ?? null) !== JSON.stringify(one.b ?? null));
}

/** Columns of what the numbers depend on besides the settings, with their names for people. */
export const provenanceNames = [
  ["modelHash", "model's files"],
  ["adapterHash", "adapter's files"],
  ["kernelHash", "kernel texts"],
  ["device", "device"],
  ["driver", "driver"],
  ["version", "graft"],
  ["commit", "commit"],
] as const satisfies readonly (readonly [keyof RunDetails, string])[];

function diffTask(task: string, a: ResultRow | undefined, b: ResultRow | undefined): TaskDiff {
  const [left, right] = [a?.figures[a.primary]?.value, b?.figures[b.primary]?.value];
  const without = (verdict: string): TaskDiff => ({
    task,
    metric: undefined,
    a: left,
    b: right,
    difference: undefined,
    paired: undefined,
    verdict,
  });
  if (!a || !b) return without(`only in ${a ? "A" : "B"}`);
  if (a.primary !== b.primary) return without(`not compared: A is measured by ${a.primary}, B by ${b.primary}`);
  if (a.version !== b.version)
    return without(`not compared: A ran version ${a.version} of the task, B version ${b.version}`);
  const whole = { task, metric: a.primary, a: left, b: right, difference: right! - left! };
  const pairs = pairItems(a.items, b.items);
  if (pairs.length === 0) return { ...whole, paired: undefined, verdict: "not tested: no doc was asked by both" };
  const values = pairs.filter((pair): pair is [number, number] => pair.every((value) => typeof value === "number"));
  if (values.length < pairs.length)
    return { ...whole, paired: undefined, verdict: `not tested: ${a.primary} is not a mean of values of single docs` };
  const paired = test(values);
  const { higherIsBetter } = a.figures[a.primary]!;
  const said = [verdictOf(paired, higherIsBetter), ...remarks(paired, a, b)];
  return { ...whole, paired, verdict: said.join("; ") };
}

/** Values of the docs that are in both, in the order of `a`. A doc that a data set has several times meets its namesake of the same turn. */
export function pairItems(a: readonly Item[], b: readonly Item[]): [Item["value"], Item["value"]][] {
  const waiting = Map.groupBy(b, ({ docHash }) => docHash);
  return a.flatMap(({ docHash, value }) => {
    const other = waiting.get(docHash)?.shift();
    return other ? [[value, other.value]] : [];
  });
}

function test(pairs: readonly [number, number][]): Paired {
  const [a, b] = [pairs.map(([x]) => x), pairs.map(([, y]) => y)];
  const shared = { docs: pairs.length, a: mean(a), b: mean(b), difference: mean(b) - mean(a) };
  if (isBinary(pairs.flat())) {
    const { onlyA, onlyB, pValue } = mcnemar(a, b);
    return { test: "McNemar", ...shared, onlyA, onlyB, pValue };
  }
  const { interval, pValue } = pairedBootstrap(a, b);
  return { test: "paired bootstrap", ...shared, interval, pValue };
}

function verdictOf(paired: Paired, higherIsBetter: boolean): string {
  const { difference, pValue, docs } = paired;
  const [better, worse] = difference > 0 === higherIsBetter ? ["B", "A"] : ["A", "B"];
  const said = pValue < LEVEL ? `${better} really beats ${worse} at 5 %` : "no difference is shown at 5 %";
  const grounds = paired.interval
    ? `paired bootstrap over ${docs} docs: 95 % interval of B - A from ${signed(paired.interval[0])} to ${signed(paired.interval[1])}`
    : `McNemar's exact test: of ${docs} docs ${paired.onlyA} right only in A, ${paired.onlyB} only in B`;
  return `${said} (${grounds}; ${p(pValue)})`;
}

/** What a reader must know to read the comparison rightly. */
function remarks({ docs, a: left, b: right }: Paired, a: ResultRow, b: ResultRow): string[] {
  const isPart = docs < a.items.length || docs < b.items.length;
  return [
    ...(isPart
      ? [
          `compared are only the ${docs} docs that both were asked (A ${a.items.length}, B ${b.items.length}): A ${share(left)}, B ${share(right)} on them`,
        ]
      : []),
    ...(a.scoring === b.scoring ? [] : [`A is scored by "${a.scoring}", B by "${b.scoring}"`]),
    ...(a.promptsHash === b.promptsHash || isPart ? [] : ["the prompts differ"]),
  ];
}
