/** Results as lm-evaluation-harness writes them, and as a table for people. */
import type { TaskResult } from "./runner.ts";

export function resultsJson(results: readonly TaskResult[], config: Readonly<Record<string, unknown>>) {
  const byTask = <T>(f: (result: TaskResult) => T) =>
    Object.fromEntries(results.map((result) => [result.task, f(result)]));
  return {
    results: byTask((r) => ({ alias: r.task, "acc,none": r.acc, "acc_stderr,none": r.accStderr })),
    versions: byTask((r) => r.version),
    "n-shot": byTask(() => 0),
    "n-samples": byTask((r) => ({ original: r.total, effective: r.count, cut: r.cut })),
    config,
  };
}

export function markdownTable(results: readonly TaskResult[]): string {
  const rows = results.map(
    (r) => `| ${r.task} | ${r.version} | ${r.count} | acc | ${r.acc.toFixed(4)} | ± ${r.accStderr.toFixed(4)} |`,
  );
  return ["| Tasks | Version | n | Metric | Value | Stderr |", "| --- | --: | --: | --- | --: | --: |", ...rows].join(
    "\n",
  );
}
