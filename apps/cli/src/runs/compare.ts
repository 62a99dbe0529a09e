/** Whether a run that was run again said the same. */
import type { Item, ResultRow, RunDetails } from "@graft/server/db";
import { provenanceNames } from "./diff.ts";

export interface Reproduction {
  /** All figures, all items and all answers, bit for bit. */
  readonly isIdentical: boolean;
  readonly tasks: readonly { readonly task: string; readonly differences: readonly string[] }[];
  /** What else is not as it was, and may be the reason. */
  readonly surroundings: readonly string[];
}

/** Items that are named of each task. */
const SHOWN = 5;

/** Metric by metric and item by item, for every task of `before`. */
export function compareRuns(before: RunDetails, after: RunDetails): Reproduction {
  const tasks = before.results.map((was) => {
    const now = after.results.find(({ task }) => task === was.task);
    return { task: was.task, differences: now ? differencesOf(was, now) : ["was not run again"] };
  });
  return {
    isIdentical: tasks.length > 0 && tasks.every(({ differences }) => differences.length === 0),
    tasks,
    surroundings: provenanceNames.flatMap(([field, name]) =>
      before[field] === after[field]
        ? []
        : [`${name}: ${after[field] ?? "unknown"}, was ${before[field] ?? "unknown"}`],
    ),
  };
}

function differencesOf(was: ResultRow, now: ResultRow): string[] {
  const changed = settled.flatMap(([field, name]) =>
    was[field] === now[field] ? [] : [`${name}: ${String(now[field])}, was ${String(was[field])}`],
  );
  const numbers = [...figureDifferences(was, now), ...itemDifferences(was.items, now.items)];
  const hasOtherAnswers = was.answersHash !== now.answersHash;
  const answers = hasOtherAnswers
    ? [numbers.length === 0 ? "the answers differ, but lead to the same numbers" : "the answers differ"]
    : [];
  return [...changed, ...numbers, ...answers];
}

const settled = [
  ["version", "version of the task"],
  ["scoring", "scoring"],
  ["primary", "metric"],
  ["count", "docs asked"],
  ["cut", "prompts cut"],
  ["datasetSha256", "data"],
  ["template", "template"],
  ["templateHash", "text of the template"],
  ["promptsHash", "prompts"],
] as const satisfies readonly (readonly [keyof ResultRow, string])[];

function figureDifferences({ figures: was }: ResultRow, { figures: now }: ResultRow): string[] {
  const names = [...new Set([...Object.keys(was), ...Object.keys(now)])];
  return names.flatMap((name) => {
    const [before, after] = [was[name], now[name]];
    if (!before || !after) return [`${name}: only in the ${before ? "first" : "second"} run`];
    const parts = (figure: typeof before): [string, number][] => [
      ["value", figure.value],
      ["stderr", figure.stderr],
      ["low end of the interval", figure.interval[0]],
      ["high end of the interval", figure.interval[1]],
    ];
    const others = new Map(parts(before));
    return parts(after).flatMap(([part, x]) =>
      Object.is(x, others.get(part)) ? [] : [`${name}, ${part}: ${x}, was ${others.get(part)}`],
    );
  });
}

function itemDifferences(was: readonly Item[], now: readonly Item[]): string[] {
  const docs = Math.min(was.length, now.length);
  const differing = Array.from({ length: docs }, (_, i) => i).flatMap((i) => {
    const [before, after] = [was[i]!, now[i]!];
    if (before.docHash !== after.docHash) return [`doc ${i + 1}: is another one`];
    return isSame(before.value, after.value) ? [] : [`doc ${i + 1}: ${text(after.value)}, was ${text(before.value)}`];
  });
  const more = differing.length - SHOWN;
  return [...differing.slice(0, SHOWN), ...(more > 0 ? [`${more} more of ${docs} docs differ`] : [])];
}

function isSame(a: Item["value"], b: Item["value"]): boolean {
  if (typeof a === "number" || typeof b === "number") return Object.is(a, b);
  return a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
}

const text = (value: Item["value"]): string => (typeof value === "number" ? String(value) : `[${value.join(", ")}]`);
