import { type Coordinates, coordinatesOf, varyingAxes, wordsFor } from "./coordinates.ts";
import type { Cell } from "./grid.ts";

const nowhere = { placement: null, sizeField: null, learningRate: null, config: null };

/** Each cell with what tells it from the others: model, task, title, and where in the grid and with which seed it is, if there are several. */
export function labelCells(cells: readonly Cell[]): { readonly cell: Cell; readonly label: string }[] {
  const places = new Map<Cell, Coordinates>(cells.map((cell) => [cell, coordinatesOf(cell.adapter ?? nowhere)]));
  const seeds = new Set(cells.map(({ seed }) => seed).filter((seed) => seed !== undefined));
  const axes = new Map(
    [...new Set(cells.map(({ title }) => title))].map((title) => [
      title,
      varyingAxes(cells.filter((cell) => cell.title === title).map((cell) => places.get(cell)!)),
    ]),
  );
  return cells.map((cell) => {
    const words = wordsFor(places.get(cell)!, axes.get(cell.title)!);
    const own = words === "" ? cell.title : `${cell.title} (${words})`;
    const seed = seeds.size > 1 && cell.seed !== undefined ? `  seed ${cell.seed}` : "";
    return { cell, label: `${cell.model.name}  ${cell.task.name}  ${own}${seed}` };
  });
}
