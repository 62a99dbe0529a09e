import { expect, test } from "bun:test";
import type { Run } from "./api-types.ts";
import { byMetric, compareOn, runName, tasksOf } from "./compare-runs.ts";

const figure = (value: number) => ({ value, interval: [value - 0.1, value + 0.1] as const, higher_is_better: true });
const run = (id: string, results: Record<string, [string, number]>): Run => ({
  id,
  kind: "eval",
  state: "finished",
  system: id,
  model: "/models/base/",
  adapter: null,
  created_at: 0,
  finished_at: 1,
  error: null,
  results: Object.entries(results).map(([task, [primary, value]]) => ({
    task,
    scoring: "choice",
    primary,
    figures: { [primary]: figure(value), other: figure(0) },
    count: 10,
    contamination: [],
  })),
});
const a = run("a", { piqa: ["acc", 0.5], gsm8k: ["exact", 0.2] });
const b = run("b", { piqa: ["acc", 0.6], wikitext: ["perplexity", 12] });

test("runs are compared on the tasks that they have", () => {
  expect(tasksOf([a, b])).toEqual(["gsm8k", "piqa", "wikitext"]);
  expect(compareOn([a, b], "piqa").map(({ run: { id }, figure: { value } }) => [id, value])).toEqual([
    ["a", 0.5],
    ["b", 0.6],
  ]);
  expect(compareOn([a, b], "gsm8k").map(({ run: { id } }) => id)).toEqual(["a"]);
});

test("figures of one unit stand together", () => {
  expect([...byMetric(b)].map(([metric, rows]) => [metric, rows.map(({ task }) => task)])).toEqual([
    ["acc", ["piqa"]],
    ["perplexity", ["wikitext"]],
  ]);
});

test("a run is called after its adapter's folder, else as reports call it", () => {
  expect(runName({ model: "m", adapter: "/adapters/math-lora/", system: "x" })).toBe("math-lora");
  expect(runName({ model: "m", adapter: null, system: "base" })).toBe("base");
  expect(runName({ model: "/models/base/", adapter: null, system: "" })).toBe("base");
});
