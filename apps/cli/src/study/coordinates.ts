/** Where in the grid an adapter is, and how that is said in few words. */
import { placementFields } from "./placement.ts";

/** What a grid varies of an adapter: a cell's, or a result's. */
interface GridPoint {
  readonly placement: string | null;
  readonly sizeField: string | null;
  readonly learningRate: number | null;
  readonly config: Readonly<Record<string, unknown>> | null;
}

/** Values by axis: "placement", "learning_rate" or a config field; the size before the other fields. */
export type Coordinates = ReadonlyMap<string, unknown>;

/** The same everywhere, or what a placement stands for. */
const hidden = new Set<string>(["peft_type", "task_type", "inference_mode"]);

export function coordinatesOf({ placement, sizeField, learningRate, config }: GridPoint): Coordinates {
  const decided = new Set<string>(placement === null ? [] : placementFields);
  const fields = Object.entries(config ?? {}).filter(([field]) => !hidden.has(field) && !decided.has(field));
  const size = fields.filter(([field]) => field === sizeField);
  const others = fields.filter(([field]) => field !== sizeField);
  return new Map([["placement", placement], ...size, ...others, ["learning_rate", learningRate]]);
}

/** Axes on which some of them differ, in their order. */
export function varyingAxes(all: readonly Coordinates[]): string[] {
  const axes = [...new Set(all.flatMap((own) => [...own.keys()]))];
  return axes.filter((axis) => new Set(all.map((own) => JSON.stringify(own.get(axis)))).size > 1);
}

/** Values on those axes: "mlp, r 8, learning_rate 0.005". */
export function wordsFor(own: Coordinates, axes: readonly string[]): string {
  return axes
    .map((axis) => (axis === "placement" ? valueWord(own.get(axis)) : `${axis} ${valueWord(own.get(axis))}`))
    .join(", ");
}

/** A value as a table shows it. What is left to the method is "default". */
export function valueWord(value: unknown): string {
  if (value === null || value === undefined) return "default";
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? String(value)
    : JSON.stringify(value);
}
