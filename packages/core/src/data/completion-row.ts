/** One row of the completion format: {"prompt": "...", "completion": "..."}. */
import { DataError } from "../errors/index.ts";
import { describe } from "./rows.ts";

export interface CompletionRow {
  /** As it is asked at /v1/completions; may be empty. */
  readonly prompt: string;
  /** Follows the prompt as it is: a blank between them is part of it. */
  readonly completion: string;
}

/** Throws DataError beginning with `where` and naming the field. Other fields are left aside. */
export function parseCompletionRow(row: Readonly<Record<string, unknown>>, where: string): CompletionRow {
  for (const name of ["prompt", "completion"]) {
    if (!Object.hasOwn(row, name))
      throw new DataError(
        `${where}: field "${name}" is missing; the row has the fields ${Object.keys(row).join(", ")}`,
      );
    if (typeof row[name] !== "string")
      throw new DataError(`${where}: field "${name}" must be a string, got ${describe(row[name])}`);
  }
  const { prompt, completion } = row as { prompt: string; completion: string };
  if (completion === "") throw new DataError(`${where}: field "completion" is empty; nothing is there to learn`);
  return { prompt, completion };
}
