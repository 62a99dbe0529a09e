/** A study's results as the paper's figures show them. SVG. */
import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { valueWord } from "./coordinates.ts";
import {
  chosenConfigurations,
  columnsOf,
  configAxes,
  configurationsOf,
  figureOf,
  type Line,
  linesAlong,
  type StudyFigure,
} from "./findings.ts";
import type { StudyResults } from "./results.ts";
import { spreadNote } from "./tables.ts";

export interface Picture {
  /** Of its file, without the end. */
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

/** Methods as bars, placements and sizes as lines; what a study has nothing of is left out. */
export async function studyPictures({ cells }: StudyResults): Promise<Picture[]> {
  const columns = columnsOf(cells);
  const all = configurationsOf(cells);
  const placement = linesAlong("placement", all, columns);
  const sizes = configAxes(all).sizes.flatMap((axis) =>
    linesAlong(axis, all, columns).map((line) => ({ ...line, axis })),
  );
  return [
    await methodsPicture(cells),
    ...(placement.length > 0 ? [await placementPicture(placement)] : []),
    ...(sizes.length > 0 ? [await sizePicture(sizes)] : []),
  ];
}

interface Bar {
  readonly accuracy: number;
  readonly low: number;
  readonly high: number;
}

const barOf = ({ value, spread }: StudyFigure): Bar => ({
  accuracy: 100 * value,
  low: 100 * Math.max(0, value - spread),
  high: 100 * Math.min(1, value + spread),
});

const accuracy = {
  field: "accuracy",
  type: "quantitative" as const,
  title: "accuracy, %",
  scale: { domain: [0, 100] },
};
const range = { y: { field: "low", type: "quantitative" as const, title: "accuracy, %" }, y2: { field: "high" } };

/** A panel for each task, a group for each model, a colour for each method. */
function methodsPicture(cells: StudyResults["cells"]): Promise<Picture> {
  const columns = columnsOf(cells);
  const figures: StudyFigure[] = [];
  const values = chosenConfigurations(configurationsOf(cells), columns).flatMap(({ configuration }) =>
    columns.flatMap((column) => {
      const figure = figureOf(configuration, [column]);
      if (!figure) return [];
      if (!configuration.isBase) figures.push(figure);
      return [
        {
          model: configuration.model,
          adapter: configuration.title,
          task: `${column.name} (n = ${column.count})`,
          ...barOf(figure),
        },
      ];
    }),
  );
  const x = { field: "model", type: "nominal" as const, title: null, axis: { labelAngle: 0 } };
  const xOffset = { field: "adapter", sort: null };
  return picture("study", "Methods", spreadNote(figures), {
    data: { values },
    facet: { column: { field: "task", type: "nominal", title: null, sort: null } },
    spec: {
      width: 320,
      height: 220,
      layer: [
        {
          mark: "bar",
          encoding: {
            x,
            xOffset,
            y: accuracy,
            color: { field: "adapter", type: "nominal", sort: null, title: "adapter" },
          },
        },
        { mark: "rule", encoding: { x, xOffset, ...range } },
      ],
    },
  });
}

/** A panel for each method, a line for each model. */
function placementPicture(lines: readonly Line[]): Promise<Picture> {
  return picture("placement", "Placement", notesOf(lines), {
    data: { values: valuesOf(lines).map((value) => ({ ...value, at: valueWord(value.at) })) },
    facet: { column: { field: "adapter", type: "nominal", title: null, sort: null } },
    spec: {
      width: 200,
      height: 220,
      layer: layersOver(
        { field: "at", type: "nominal", title: "placement", sort: null, axis: { labelAngle: 0 } },
        "model",
      ),
    },
  });
}

/** A panel for each config field and model, a line for each method. */
function sizePicture(lines: readonly (Line & { readonly axis: string })[]): Promise<Picture> {
  const values = lines.flatMap((line) => valuesOf([line]).map((value) => ({ ...value, size: line.axis })));
  const isSingle = new Set(lines.map(({ model }) => model)).size === 1;
  return picture("configuration", "Configuration", notesOf(lines), {
    data: { values },
    facet: {
      column: { field: "size", type: "nominal", title: null, sort: null },
      ...(isSingle ? {} : { row: { field: "model", type: "nominal" as const, title: null, sort: null } }),
    },
    resolve: { scale: { x: "independent" } },
    spec: {
      width: 240,
      height: 220,
      layer: layersOver({ field: "at", type: "ordinal", title: "size", axis: { labelAngle: 0 } }, "adapter"),
    },
  });
}

type Layers = Extract<Extract<TopLevelSpec, { readonly facet: unknown }>["spec"], { readonly layer: unknown }>["layer"];

/** Lines through points with their spread. */
function layersOver(x: object, colour: "model" | "adapter"): Layers {
  const color = { field: colour, type: "nominal" as const, sort: null, title: colour };
  return [
    { mark: { type: "line", point: true }, encoding: { x, y: accuracy, color } },
    { mark: "rule", encoding: { x, ...range, color } },
  ];
}

function valuesOf(lines: readonly Line[]) {
  return lines.flatMap(({ model, title, held, points }) =>
    points.flatMap(({ at, figure }) =>
      figure ? [{ model, adapter: held === "" ? title : `${title} (${held})`, at, ...barOf(figure) }] : [],
    ),
  );
}

function notesOf(lines: readonly Line[]): string {
  const figures = lines.flatMap(({ points }) => points.flatMap(({ figure }) => figure ?? []));
  const counts = [...new Set(figures.map(({ count }) => count))];
  const names = [...new Set(lines.flatMap(({ columns }) => columns.map(({ name }) => name)))];
  return `Mean of ${names.join(", ")}; n = ${counts.join(" or ")} problems. ${spreadNote(figures)}`;
}

async function picture(
  name: string,
  title: string,
  note: string,
  spec: Omit<Extract<TopLevelSpec, { readonly facet: unknown }>, "$schema">,
): Promise<Picture> {
  const whole = {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    background: "white",
    title: { text: title, subtitle: note, anchor: "start" },
    ...spec,
  } as TopLevelSpec;
  return { name, title, svg: await new View(parse(compile(whole).spec), { renderer: "none" }).toSVG() };
}
