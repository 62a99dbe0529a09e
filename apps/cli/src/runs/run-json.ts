/** Runs as programs read them: the names that the other commands' JSON has. */
import type { ListedRun, RunDetails } from "@graft/server/db";

/** The same values under snake_case names; what is inside of them is left as it is. */
export function snakeCase(object: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => [name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`), value]),
  );
}

/** Settings and decoding keep their own names: those of the options. */
export function runJson(run: ListedRun | RunDetails): Record<string, unknown> {
  const results = run.results.map((result) => ({
    ...snakeCase(result),
    figures: Object.fromEntries(Object.entries(result.figures).map(([metric, figure]) => [metric, snakeCase(figure)])),
    ...("items" in result ? { items: result.items.map(snakeCase) } : {}),
  }));
  return { ...snakeCase(run), results };
}
