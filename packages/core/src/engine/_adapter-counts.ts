/** Figures of requests by adapter. */
import type { AdapterStats } from "./engine.ts";
import type { Job } from "./scheduler.ts";

/** By name of the adapter, "" the base. generatedTokens: since the start. */
export function countByAdapter(
  running: readonly Job[],
  waiting: readonly Job[],
  generatedTokens: ReadonlyMap<string, number>,
): Record<string, AdapterStats> {
  const [runs, waits] = [running, waiting].map((jobs) => Map.groupBy(jobs, ({ adapter }) => adapter));
  const names = new Set([...generatedTokens.keys(), ...runs!.keys(), ...waits!.keys()]);
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      {
        running: runs!.get(name)?.length ?? 0,
        waiting: waits!.get(name)?.length ?? 0,
        generatedTokens: generatedTokens.get(name) ?? 0,
      },
    ]),
  );
}
