/** Where the files of a data set are. */
import { DataError } from "@graft/core/errors";
import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { Dataset, Split } from "./dataset.ts";
import type { Doc } from "./doc.ts";

/** LLM-Adapters' repository keeps its sets in a folder of their own; pointing at the one above is as good. */
const BELOW = ["", "llm-adapters", "dataset"];

/** The first file of a split that is there. Throws DataError with the places that were looked at. */
export function findDataset<D extends Doc>(dataset: Dataset<D>, split: Split, folders: readonly string[]): string {
  const found = places(dataset, split, folders).find((place) => existsSync(place));
  if (found !== undefined) return found;
  const files = dataset.files[split] ?? [];
  const hint =
    dataset.sources.length > 0
      ? `\`graft datasets pull ${dataset.name}\` fetches it, --data-dir names a folder that has it`
      : "--data-dir names a folder that has it";
  throw new DataError(
    files.length === 0
      ? `data set ${dataset.name} has no ${split} set`
      : `data set ${dataset.name}: ${files.join(" or ")} is in none of ${folders.join(", ")}; ${hint}`,
  );
}

/** Is a file of the split there? */
export function hasDataset<D extends Doc>(dataset: Dataset<D>, split: Split, folders: readonly string[]): boolean {
  return places(dataset, split, folders).some((place) => existsSync(place));
}

function places<D extends Doc>({ files }: Dataset<D>, split: Split, folders: readonly string[]): string[] {
  return (files[split] ?? []).flatMap((file) => {
    const whole = isAbsolute(file)
      ? [file]
      : folders.flatMap((folder) => BELOW.map((below) => join(folder, below, file)));
    return whole.flatMap((place) => [place, `${place}.gz`]);
  });
}
