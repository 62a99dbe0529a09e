/** Which figures of several runs stand beside each other. */
import type { Figure, Run } from "./api-types.ts";

/** Tasks of the runs, by name. */
export function tasksOf(runs: readonly Run[]): string[] {
  return [...new Set(runs.flatMap(({ results }) => results.map(({ task }) => task)))].sort();
}

export interface Compared {
  readonly run: Run;
  readonly metric: string;
  readonly figure: Figure;
  readonly count: number;
}

/** The task's primary figure of each run that has it. */
export function compareOn(runs: readonly Run[], task: string): Compared[] {
  return runs.flatMap((run) => {
    const result = run.results.find((one) => one.task === task);
    const figure = result?.figures[result.primary];
    return result && figure ? [{ run, metric: result.primary, figure, count: result.count }] : [];
  });
}

/** Primary figures of one run by metric, so that each plot has one unit. */
export function byMetric(run: Run): Map<string, { readonly task: string; readonly figure: Figure }[]> {
  const groups = new Map<string, { task: string; figure: Figure }[]>();
  for (const { task, primary, figures } of run.results) {
    const figure = figures[primary];
    if (!figure) continue;
    groups.set(primary, [...(groups.get(primary) ?? []), { task, figure }]);
  }
  return groups;
}

/** What a run is called in a list. */
export function runName({ model, adapter, system }: Pick<Run, "model" | "adapter" | "system">): string {
  const last = (path: string) => path.split("/").findLast((part) => part !== "") ?? path;
  return adapter === null ? system || last(model) : last(adapter);
}
