/** Labels that are published beside the rows, one to a line. */
import { DataError } from "@graft/core/errors";
import { existsSync, readFileSync } from "node:fs";

/**
 * Of the row with a number from 0: `dev.jsonl` has its labels in `dev-labels.lst`. The file is read when a row first asks for its label. Throws DataError if there is none.
 */
export function labelsBeside(path: string): (place: number) => string {
  const own = `${path.replace(/\.jsonl?(\.gz)?$/, "")}-labels.lst`;
  let lines: readonly string[] | undefined;
  return (place) => {
    if (!lines) {
      if (!existsSync(own)) throw new DataError(`the row has no label, and ${own} with the labels is not there`);
      lines = readFileSync(own, "utf8").split("\n");
    }
    const label = lines[place]?.trim();
    if (!label) throw new DataError(`${own} has no label in line ${place + 1}`);
    return label;
  };
}
