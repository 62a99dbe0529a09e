/** A study's results as the paper's tables show them, and as a picture. */
import { compile, type TopLevelSpec } from "vega-lite";
import { parse, View } from "vega";
import type { CellResult } from "./cell.ts";
import { recipes } from "./recipes.ts";

const percent = (x: number): string => (100 * x).toFixed(1);

export function titleOf(method: string): string {
  return recipes[method]?.title ?? (method === "base" ? "none" : method);
}

/** Model by method: accuracy per task in percent and their mean, trained parameters, seconds of training. Cells that are not there are dashes. */
export function studyTable(results: readonly CellResult[]): string {
  const distinct = (of: (r: CellResult) => string) => [...new Set(results.map(of))];
  const tasks = distinct((r) => r.task);
  const rows = distinct((r) => r.model).flatMap((model) =>
    distinct((r) => r.method).flatMap((method) => {
      const own = results.filter((r) => r.model === model && r.method === method);
      if (own.length === 0) return [];
      const cells = tasks.map((task) => own.find((r) => r.task === task));
      const mean = cells.every((cell) => cell) ? percent(own.reduce((sum, r) => sum + r.acc, 0) / own.length) : "-";
      return [
        [
          model,
          titleOf(method),
          ...cells.map((cell) => (cell ? `${percent(cell.acc)} ± ${percent(cell.acc_stderr)}` : "-")),
          mean,
          own[0]!.trainable_parameters.toLocaleString("en"),
          own.reduce((sum, r) => sum + r.train_seconds, 0).toFixed(0),
        ],
      ];
    }),
  );
  const head = ["model", "adapter", ...tasks, "mean", "trained parameters", "seconds"];
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** Bars of accuracy: a panel for each task, a group for each model, a colour for each method. SVG. */
export async function studyPicture(results: readonly CellResult[]): Promise<string> {
  const spec: TopLevelSpec = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    data: { values: results.map((r) => ({ ...r, accuracy: 100 * r.acc, adapter: titleOf(r.method) })) },
    facet: { column: { field: "task", type: "nominal", title: null } },
    spec: {
      width: 320,
      height: 220,
      mark: "bar",
      encoding: {
        x: { field: "model", type: "nominal", title: null, axis: { labelAngle: 0 } },
        xOffset: { field: "adapter", sort: null },
        y: { field: "accuracy", type: "quantitative", title: "accuracy, %", scale: { domain: [0, 100] } },
        color: { field: "adapter", type: "nominal", sort: null, title: "adapter" },
      },
    },
  };
  return new View(parse(compile(spec).spec), { renderer: "none" }).toSVG();
}
