/** What the results of a study say: figures of its configurations, the best ones, and lines along one axis of the grid. */
import { mcnemar, mean } from "@graft/eval";
import { type Coordinates, coordinatesOf, varyingAxes, wordsFor } from "./coordinates.ts";
import type { CellResult, Score } from "./results.ts";
import { placements } from "./schema.ts";

/** A task's figures: what was trained on, and what was asked. */
export interface Column {
  /** The asked task's name, after what was trained on where that leaves it open. */
  readonly name: string;
  readonly task: string;
  readonly asked: string;
  readonly count: number;
}

/** The cells of a model that differ in task and seed alone. */
export interface Configuration {
  readonly model: string;
  readonly title: string;
  readonly isBase: boolean;
  readonly isReference: boolean;
  readonly place: Coordinates;
  /** What tells it from the other configurations of its title; "" where it is the only one. */
  readonly words: string;
  readonly sizeField: string | null;
  readonly cells: readonly CellResult[];
}

export interface StudyFigure {
  /** Mean over columns and seeds. */
  readonly value: number;
  /** Over seeds the sample standard deviation; of a single seed the standard error over its problems. */
  readonly spread: number;
  readonly seeds: number;
  /** Problems of the columns together. */
  readonly count: number;
}

export function columnsOf(results: readonly CellResult[]): Column[] {
  const columns = new Map<string, Omit<Column, "name">>();
  for (const { task, scores } of results)
    for (const { task: asked, count } of scores) columns.set(`${task}\n${asked}`, { task, asked, count });
  const all = [...columns.values()];
  return all.map((column) => {
    const isOpen = all.some((other) => other !== column && other.asked === column.asked);
    return { ...column, name: isOpen ? `${column.task}: ${column.asked}` : column.asked };
  });
}

/** In the order of the results. */
export function configurationsOf(results: readonly CellResult[]): Configuration[] {
  const groups = new Map<string, { place: Coordinates; cells: CellResult[] }>();
  for (const cell of results) {
    const { placement, size_field: sizeField, learning_rate: learningRate, config } = cell;
    const place = coordinatesOf({ placement, sizeField, learningRate, config });
    const key = JSON.stringify([cell.model, cell.title, ...place]);
    const group = groups.get(key) ?? { place, cells: [] };
    group.cells.push(cell);
    groups.set(key, group);
  }
  const all = [...groups.values()];
  return all.map(({ place, cells }) => {
    const { model, title, method, size_field: sizeField } = cells[0]!;
    const axes = varyingAxes(all.filter((other) => other.cells[0]!.title === title).map((other) => other.place));
    const isReference = cells.some((cell) => cell.is_reference);
    return {
      model,
      title,
      isBase: method === null,
      isReference,
      place,
      words: wordsFor(place, axes),
      sizeField,
      cells,
    };
  });
}

/** Undefined where a column was not measured with each seed. */
export function figureOf({ cells }: Configuration, columns: readonly Column[]): StudyFigure | undefined {
  const seeds = [...new Set(cells.map(({ seed }) => seed))];
  const bySeed = seeds.map((seed) => columns.map((column) => scoreOf(cells, column, seed)));
  if (columns.length === 0 || bySeed.flat().some((score) => !score)) return undefined;
  const whole = bySeed as Score[][];
  const means = whole.map((scores) => mean(scores.map(({ value }) => value)));
  const value = mean(means);
  const spread =
    means.length > 1
      ? Math.sqrt(means.reduce((sum, x) => sum + (x - value) ** 2, 0) / (means.length - 1))
      : Math.sqrt(whole[0]!.reduce((sum, { stderr }) => sum + stderr ** 2, 0)) / columns.length;
  return { value, spread, seeds: seeds.length, count: whole[0]!.reduce((sum, { count }) => sum + count, 0) };
}

function scoreOf(cells: readonly CellResult[], { task, asked }: Column, seed: number | null): Score | undefined {
  return cells.find((cell) => cell.task === task && cell.seed === seed)?.scores.find((score) => score.task === asked);
}

/** Did training fail for a task, or for the one that is named? */
export function isDiverged({ cells }: Configuration, task?: string): boolean {
  return cells.some((cell) => cell.trained?.failure && (task === undefined || cell.task === task));
}

/** Columns that each of them has. */
function sharedColumns(configurations: readonly Configuration[], columns: readonly Column[]): Column[] {
  return columns.filter((column) => configurations.every((own) => figureOf(own, [column])));
}

interface Chosen {
  readonly configuration: Configuration;
  /** Configurations that it was chosen among. */
  readonly among: number;
}

/** One configuration for each title of each model: its reference, else the best of those that were measured on the most columns. */
export function chosenConfigurations(configurations: readonly Configuration[], columns: readonly Column[]): Chosen[] {
  const groups = Map.groupBy(configurations, ({ model, title }) => `${model}\n${title}`);
  return [...groups.values()].flatMap((group): Chosen[] => {
    const reference = group.find(({ isReference }) => isReference);
    if (reference) return [{ configuration: reference, among: 1 }];
    const best = bestOf(group, columns);
    return best ? [{ configuration: best, among: group.length }] : [{ configuration: group[0]!, among: group.length }];
  });
}

/** Among those with figures of the most columns. Undefined where none has any. */
export function bestOf(group: readonly Configuration[], columns: readonly Column[]): Configuration | undefined {
  const own = group.map((configuration) => {
    const measured = columns.filter((column) => figureOf(configuration, [column]));
    return { configuration, width: measured.length, value: figureOf(configuration, measured)?.value };
  });
  const width = Math.max(...own.map((one) => one.width));
  return own.filter((one) => one.width === width && one.value !== undefined).toSorted((a, b) => b.value! - a.value!)[0]
    ?.configuration;
}

/** Configurations of a model that differ on one axis alone. */
export interface Line {
  readonly model: string;
  readonly title: string;
  /** What else is held, where several lines of a title differ in it. */
  readonly held: string;
  readonly columns: readonly Column[];
  /** Rising; without a figure where training failed or a seed of it is not there. */
  readonly points: readonly Point[];
}

interface Point {
  readonly at: unknown;
  readonly figure: StudyFigure | undefined;
  readonly isDiverged: boolean;
}

/** Numbers rising, placements as they are usually named, others as they come. */
export function compareValues(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [i, j] = [a, b].map((value) => placements.findIndex((name) => name === value));
  return i! >= 0 && j! >= 0 ? i! - j! : 0;
}

/** The lines along an axis that have more than one point. */
export function linesAlong(axis: string, configurations: readonly Configuration[], columns: readonly Column[]): Line[] {
  const adapters = configurations.filter(({ isBase, place }) => !isBase && place.has(axis));
  const without = ({ place }: Configuration): Coordinates => new Map([...place].filter(([name]) => name !== axis));
  const groups = [...Map.groupBy(adapters, (own) => JSON.stringify([own.model, own.title, ...without(own)])).values()];
  const lines = groups.filter((group) => group.length > 1);
  return lines.map((group) => {
    const { model, title } = group[0]!;
    const others = lines.filter((other) => other[0]!.title === title).map((other) => without(other[0]!));
    // Where training failed nothing is there to share.
    const shared = sharedColumns(
      group.filter((own) => columns.some((column) => figureOf(own, [column]))),
      columns,
    );
    return {
      model,
      title,
      held: wordsFor(without(group[0]!), varyingAxes(others)),
      columns: shared,
      points: group
        .map((own) => ({ at: own.place.get(axis), figure: figureOf(own, shared), isDiverged: isDiverged(own) }))
        .toSorted((a, b) => compareValues(a.at, b.at)),
    };
  });
}

interface Axes {
  readonly sizes: readonly string[];
  /** Config fields that are no size. */
  readonly others: readonly string[];
}

/** Config fields on which configurations of one title differ. */
export function configAxes(configurations: readonly Configuration[]): Axes {
  const groups = [...Map.groupBy(configurations, ({ title }) => title).values()];
  const varying = new Set(groups.flatMap((group) => varyingAxes(group.map(({ place }) => place))));
  const sizes = new Set(configurations.map(({ sizeField }) => sizeField));
  const fields = [...varying].filter((axis) => axis !== "placement" && axis !== "learning_rate");
  return { sizes: fields.filter((axis) => sizes.has(axis)), others: fields.filter((axis) => !sizes.has(axis)) };
}

interface Pair {
  readonly model: string;
  readonly a: Configuration;
  readonly b: Configuration;
  readonly columns: readonly Column[];
  /** Problems times seeds. */
  readonly count: number;
  readonly onlyA: number;
  readonly onlyB: number;
  /** Corrected for all pairs (Holm 1979). */
  readonly pValue: number;
}

/** McNemar's test between every two adapters of a model, over the problems of all columns and seeds that both have. */
export function pairsOf(chosen: readonly Configuration[], columns: readonly Column[]): Pair[] {
  const pairs = chosen.flatMap((a, i) =>
    chosen.slice(i + 1).flatMap((b): Pair[] => {
      if (a.model !== b.model || a.isBase || b.isBase) return [];
      const shared = sharedColumns([a, b], columns);
      const both = shared.flatMap((column) => outcomesOf(a, b, column));
      if (both.length === 0) return [];
      const [x, y] = [both.map(([left]) => left), both.map(([, right]) => right)];
      const { onlyA, onlyB, pValue } = mcnemar(x, y);
      return [{ model: a.model, a, b, columns: shared, count: both.length, onlyA, onlyB, pValue }];
    }),
  );
  const corrected = holm(pairs.map(({ pValue }) => pValue));
  return pairs.map((pair, i) => ({ ...pair, pValue: corrected[i]! }));
}

/** Of m values the k-th smallest times m - k + 1, never below a smaller one's. */
function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).toSorted((a, b) => pValues[a]! - pValues[b]!);
  const corrected: number[] = pValues.map(() => 1);
  let last = 0;
  for (const [rank, i] of order.entries()) {
    last = Math.max(last, Math.min(1, pValues[i]! * (pValues.length - rank)));
    corrected[i] = last;
  }
  return corrected;
}

function outcomesOf(a: Configuration, b: Configuration, column: Column): (readonly [number, number])[] {
  return a.cells.flatMap(({ seed }) => {
    const [left, right] = [scoreOf(a.cells, column, seed), scoreOf(b.cells, column, seed)];
    if (!left?.outcomes || !right?.outcomes || left.prompts_hash !== right.prompts_hash) return [];
    return [...left.outcomes].map((outcome, i) => [Number(outcome), Number(right.outcomes![i])] as const);
  });
}
