/** A study's results as the paper's tables show them (Hu et al. 2023, arXiv:2304.01933, section 4). */
import { mean } from "@graft/eval";
import { valueWord } from "./coordinates.ts";
import {
  bestOf,
  chosenConfigurations,
  type Column,
  columnsOf,
  compareValues,
  configAxes,
  type Configuration,
  configurationsOf,
  figureOf,
  isDiverged,
  type Line,
  linesAlong,
  pairsOf,
  type StudyFigure,
} from "./findings.ts";
import type { StudyResults } from "./results.ts";

export interface StudyTable {
  readonly title: string;
  readonly heads: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What a reader must know of it: problems, seeds, what ± is. */
  readonly notes: readonly string[];
}

/** Methods, configurations where a method has several, what placement, size, rate and other settings do, and paired comparisons; what a study has nothing of is left out. */
export function studyTables({ cells }: StudyResults): StudyTable[] {
  const columns = columnsOf(cells);
  const all = configurationsOf(cells);
  const chosen = chosenConfigurations(all, columns);
  const { sizes, others } = configAxes(all);
  const isGrid = all.some(({ words }) => words !== "");
  const picked = chosen.some(({ among }) => among > 1)
    ? [
        "A method's row is its best configuration, chosen by these same figures, which favours methods with many; the next table has all of them.",
      ]
    : [];
  const methods = {
    title: "Methods",
    heads: figureHeads(columns, cells, isGrid),
    rows: chosen.map(({ configuration }) => figureRow(configuration, columns, isGrid)),
    notes: [...picked, figureNote(all, columns), ...contaminationNotes(cells)],
  };
  return [
    methods,
    ...(isGrid ? [configurationTable(all, columns, methods.heads)] : []),
    ...lineTables("Placement", "placement", all, columns),
    ...sizes.flatMap((axis) => lineTables(`Configuration: ${axis}`, axis, all, columns)),
    ...lineTables("Learning rate", "learning_rate", all, columns),
    ...others.flatMap((axis) => lineTables(`Setting: ${axis}`, axis, all, columns)),
    ...comparisonTables(
      chosen.map(({ configuration }) => configuration),
      columns,
    ),
  ];
}

/** Sections of GitHub's Markdown. */
export function markdownOf(tables: readonly StudyTable[]): string {
  const line = (row: readonly string[]): string => `| ${row.join(" | ")} |`;
  return tables
    .map(({ title, heads, rows, notes }) =>
      [`## ${title}`, "", line(heads), line(heads.map(() => "---")), ...rows.map(line), "", ...notes].join("\n"),
    )
    .join("\n\n");
}

const percent = (share: number): string => (100 * share).toFixed(1);
const figureText = (figure: StudyFigure | undefined, otherwise: string): string =>
  figure ? `${percent(figure.value)} ± ${percent(figure.spread)}` : otherwise;
const bold = (text: string, isBold: boolean): string => (isBold ? `**${text}**` : text);

function figureHeads(columns: readonly Column[], cells: StudyResults["cells"], isGrid: boolean): string[] {
  const flagged = new Set(
    cells.flatMap(({ task, scores }) =>
      scores.filter((s) => s.contamination.length > 0).map((s) => `${task}\n${s.task}`),
    ),
  );
  const names = columns.map(({ name, task, asked }) =>
    flagged.has(`${task}\n${asked}`) ? `${name} (contaminated)` : name,
  );
  return ["model", "adapter", ...(isGrid ? ["configuration"] : []), ...names, "mean", "trained parameters", "seconds"];
}

function figureRow(own: Configuration, columns: readonly Column[], isGrid: boolean, isBest = false): string[] {
  const seeds = new Set(own.cells.map(({ seed }) => seed)).size;
  const seconds = own.cells.reduce((sum, { trained }) => sum + (trained?.seconds ?? 0), 0) / seeds;
  return [
    own.model,
    own.title,
    ...(isGrid ? [own.words] : []),
    ...columns.map((column) => figureText(figureOf(own, [column]), isDiverged(own, column.task) ? "diverged" : "-")),
    bold(figureText(figureOf(own, columns), "-"), isBest),
    own.cells[0]!.trainable_parameters.toLocaleString("en"),
    seconds.toFixed(0),
  ];
}

function configurationTable(
  all: readonly Configuration[],
  columns: readonly Column[],
  heads: readonly string[],
): StudyTable {
  const groups = [...Map.groupBy(all, ({ model, title }) => `${model}\n${title}`).values()];
  return {
    title: "All configurations",
    heads,
    rows: groups.flatMap((group) => {
      const best = group.length > 1 ? bestOf(group, columns) : undefined;
      return group.map((own) => figureRow(own, columns, true, own === best));
    }),
    notes: ["The best of a method on a model is bold, among those that were measured on the most tasks."],
  };
}

function lineTables(
  title: string,
  axis: string,
  all: readonly Configuration[],
  columns: readonly Column[],
): StudyTable[] {
  const lines = linesAlong(axis, all, columns);
  if (lines.length === 0) return [];
  const values = valuesOf(lines);
  const hasHeld = lines.some(({ held }) => held !== "");
  const rows = lines.map((line) => {
    const best = Math.max(...line.points.map(({ figure }) => figure?.value ?? Number.NEGATIVE_INFINITY));
    return [
      line.model,
      line.title,
      ...(hasHeld ? [line.held] : []),
      line.columns.map(({ name, count }) => `${name} ${count}`).join(", "),
      ...values.map((value) => {
        const point = line.points.find(({ at }) => valueWord(at) === value);
        return point
          ? bold(figureText(point.figure, point.isDiverged ? "diverged" : "-"), point.figure?.value === best)
          : "";
      }),
    ];
  });
  const notes = [
    "Means over the tasks that all points of a row have; the best of a row is bold.",
    spreadNote(lines.flatMap(({ points }) => points.flatMap(({ figure }) => figure ?? []))),
  ];
  return [{ title, heads: ["model", "adapter", ...(hasHeld ? ["with"] : []), "problems", ...values], rows, notes }];
}

/** Of an axis, in the words of a table. */
function valuesOf(lines: readonly Line[]): string[] {
  const values = lines.flatMap(({ points }) => points.map(({ at }) => at));
  return [...new Set(values.toSorted(compareValues).map(valueWord))];
}

function comparisonTables(chosen: readonly Configuration[], columns: readonly Column[]): StudyTable[] {
  const pairs = pairsOf(chosen, columns);
  if (pairs.length === 0) return [];
  const rows = pairs.map(({ model, a, b, columns: shared, count, onlyA, onlyB, pValue }) => [
    model,
    a.title,
    b.title,
    shared.map(({ name }) => name).join(", "),
    String(count),
    String(onlyA),
    String(onlyB),
    pValue < 0.0001 ? "< 0.0001" : pValue.toFixed(4),
    pValue >= 0.05 ? "no difference shown" : `${onlyA > onlyB ? a.title : b.title} is better`,
  ]);
  const seeds = Math.max(...pairs.map(({ a }) => new Set(a.cells.map(({ seed }) => seed)).size));
  return [
    {
      title: "Paired comparisons",
      heads: ["model", "A", "B", "tasks", "n", "only A right", "only B right", "p", "at 5 %"],
      rows,
      notes: [
        `McNemar's exact test between the rows of the first table, over the problems of all tasks that both have${seeds > 1 ? `, each counted once for each of ${seeds} seeds, which makes p too small` : ""}; p is corrected for the ${pairs.length} pairs (Holm).`,
      ],
    },
  ];
}

function figureNote(all: readonly Configuration[], columns: readonly Column[]): string {
  const counts = columns.map(({ name, count }) => `${name} ${count}`).join(", ");
  const figures = all.flatMap((own) =>
    columns.flatMap((column) => (own.isBase ? [] : (figureOf(own, [column]) ?? []))),
  );
  return `Accuracy in %; problems: ${counts}. The mean weighs tasks equally; seconds are those of all training steps. ${spreadNote(figures)}`;
}

/** What ± is in these figures, and of how many seeds. */
export function spreadNote(figures: readonly StudyFigure[]): string {
  const seeds = figures.length === 0 ? 1 : Math.round(mean(figures.map((figure) => figure.seeds)));
  return seeds > 1
    ? `± is the standard deviation over ${seeds} seeds (of the model alone the standard error over problems).`
    : "One seed; ± is the standard error over problems and says nothing of other seeds.";
}

function contaminationNotes(cells: StudyResults["cells"]): string[] {
  const lines = cells.flatMap(({ scores }) =>
    scores.flatMap(({ task, contamination }) => contamination.map((said) => `${task}: ${said}`)),
  );
  return [...new Set(lines)];
}
