/** An evaluation as one page that needs nothing else: figures, plots, comparisons, and the wrong answers to look at. */
import {
  COMPARISON_HEADS,
  type Comparison,
  comparisonCells,
  type EvalRun,
  groupFigures,
  primaryFigure,
  type Sample,
  type TaskResult,
  valueOf,
} from "@graft/eval";
import { compile, type TopLevelSpec } from "vega-lite";
import { Error as ERRORS, logger, parse, View } from "vega";

/** Wrong answers that a page shows of each task. */
const SHOWN = 50;

export async function reportHtml(runs: readonly EvalRun[], compared: readonly Comparison[]): Promise<string> {
  const title = `Evaluation of ${runs.map((run) => run.system).join(", ")}`;
  const sections = [
    figuresTable(runs),
    `<figure role="img" aria-label="Figures of every task with 95 % intervals">${await figuresPicture(runs)}</figure>`,
    comparisons(compared),
    contamination(runs),
    "<h2>Wrong answers</h2>",
    ...runs.flatMap((run) => run.results.map((result) => mistakes(run, result))),
    settings(runs),
  ];
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(title)}</title>
<style>${STYLE}</style>
<main>
<h1>${escape(title)}</h1>
<p>${escape(runs[0]?.date ?? "")}</p>
${sections.filter(Boolean).join("\n")}
</main>
</html>
`;
}

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
.wide { overflow-x: auto; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
figure { background: #fff; margin: 1rem 0; padding: .5rem; overflow-x: auto; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: color-mix(in srgb, currentColor 8%, transparent); padding: .5rem; }
summary { cursor: pointer; padding: .15rem 0; }
.inside { margin-left: 1.5rem; }
.flag { color: #b00020; font-weight: 600; }
@media (prefers-color-scheme: dark) { .flag { color: #ff8a80; } }
`;

const escape = (text: string): string => Bun.escapeHTML(text);
const fixed = (x: number): string => x.toFixed(4);

function grid(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cell = (value: string | number) =>
    typeof value === "number"
      ? `<td class="n">${value}</td>`
      : `<td${/^[-±<]?\s?[\d.]/.test(value) ? ' class="n"' : ""}>${escape(value)}</td>`;
  return `<div class="wide"><table><thead><tr>${heads.map((head) => `<th scope="col">${escape(head)}</th>`).join("")}</tr></thead><tbody>${rows
    .map((row) => `<tr>${row.map(cell).join("")}</tr>`)
    .join("\n")}</tbody></table></div>`;
}

function figuresTable(runs: readonly EvalRun[]): string {
  const rows = runs.flatMap((run) => [
    ...run.results.flatMap((r) =>
      Object.entries(r.figures).map(([name, { value, stderr, interval }]) => [
        run.system,
        r.task,
        r.scoring,
        r.numFewshot,
        r.count,
        name,
        fixed(value),
        `± ${fixed(stderr)}`,
        `${fixed(interval[0])} to ${fixed(interval[1])}`,
        run.contamination[r.task]?.length ? "contaminated" : "",
      ]),
    ),
    ...groupFigures(run.results).map(({ group, tasks, value, stderr }) => [
      run.system,
      `mean of ${group}`,
      "",
      "",
      tasks.length,
      "mean",
      fixed(value),
      `± ${fixed(stderr)}`,
      "",
      "",
    ]),
  ]);
  const heads = ["System", "Task", "Scoring", "Shots", "n", "Metric", "Value", "Stderr", "95 % interval", ""];
  return `<h2>Figures</h2>${grid(heads, rows)}`;
}

/** Points with their intervals: a row for each task, a colour for each system, a panel for each metric that leads a task. SVG. */
async function figuresPicture(runs: readonly EvalRun[]): Promise<string> {
  const values = runs.flatMap((run) =>
    run.results.map((r) => {
      const { value, interval } = primaryFigure(r);
      return { system: run.system, task: r.task, metric: r.primary, value, low: interval[0], high: interval[1] };
    }),
  );
  const y = { field: "task", type: "nominal" as const, title: null, sort: null };
  const yOffset = { field: "system", sort: null };
  const color = { field: "system", type: "nominal" as const, sort: null, title: "system" };
  const spec: TopLevelSpec = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    data: { values },
    facet: { row: { field: "metric", type: "nominal", title: null } },
    resolve: { scale: { y: "independent", x: "independent" } },
    spec: {
      width: 560,
      height: { step: 18 },
      layer: [
        {
          mark: "rule",
          encoding: {
            y,
            yOffset,
            color,
            x: { field: "low", type: "quantitative", title: null },
            x2: { field: "high" },
          },
        },
        {
          mark: { type: "point", filled: true, size: 50 },
          encoding: { y, yOffset, color, x: { field: "value", type: "quantitative", title: null } },
        },
      ],
    },
  };
  // Its warnings say that independent scales are meant.
  const { spec: compiled } = compile(spec, { logger: logger(ERRORS) });
  return new View(parse(compiled), { renderer: "none" }).toSVG();
}

function comparisons(found: readonly Comparison[]): string {
  if (found.length === 0) return "";
  return `<h2>Paired comparisons</h2>${grid(COMPARISON_HEADS, found.map(comparisonCells))}`;
}

function contamination(runs: readonly EvalRun[]): string {
  const lines = runs.flatMap((run) =>
    Object.entries(run.contamination).flatMap(([task, said]) =>
      said.map((text) => `<li><span class="flag">${escape(`${run.system}, ${task}`)}</span>: ${escape(text)}</li>`),
    ),
  );
  return lines.length === 0 ? "" : `<h2>Contamination</h2><ul>${lines.join("\n")}</ul>`;
}

function mistakes(run: EvalRun, result: TaskResult): string {
  const isWrong = (sample: Sample): boolean => {
    const value = valueOf(sample, result.primary);
    return typeof value === "number" && value < 1;
  };
  const wrong = result.samples.filter(isWrong);
  if (wrong.length === 0) return "";
  const shown = wrong.slice(0, SHOWN);
  const items = shown.map(
    (
      sample,
    ) => `<details><summary>${escape(`row ${sample.doc_id + 1}: gold ${sample.target}, read ${sample.filtered_resps.map(String).join(" | ") || "nothing"}`)}</summary>
<p>Asked</p><pre>${escape(Object.values(sample.arguments).map(asked).join("\n---\n"))}</pre>
<p>Said</p><pre>${escape(sample.resps.map((texts) => texts.map((text) => (typeof text === "string" ? text : JSON.stringify(text))).join("\n")).join("\n---\n"))}</pre></details>`,
  );
  const rest = wrong.length > SHOWN ? `<p>The first ${SHOWN}; all are in the samples file.</p>` : "";
  return `<details><summary>${escape(`${run.system}, ${result.task}: ${wrong.length} of ${result.count} wrong`)}</summary>
<div class="inside">${rest}${items.join("\n")}</div></details>`;
}

function asked({ arg_0: prompt, arg_1: more }: Record<string, unknown>): string {
  return typeof more === "string" ? `${String(prompt)}⟶${more}` : String(prompt);
}

function settings(runs: readonly EvalRun[]): string {
  const shown = runs.map(({ system, model, adapter, settings: own, provenance }) => ({
    system,
    model,
    adapter,
    settings: own,
    ...provenance,
  }));
  return `<h2>Settings</h2><pre>${escape(JSON.stringify(shown, null, 2))}</pre>`;
}
