/** Where the files of a data set are. */
import { DataError } from "@graft/core/errors";
import { existsSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import type { Dataset, Split } from "./dataset.ts";
import type { Doc } from "./doc.ts";

/** LLM-Adapters' repository keeps its sets in a folder of their own; pointing at the one above is as good. */
const BELOW = ["", "llm-adapters", "dataset"];

/**
 * The first file of a split that is there: all its names in the first folder, plain or gzipped, then in the next. Throws DataError saying where it was looked for, and what to do.
 */
export function findDataset<D extends Doc>(dataset: Dataset<D>, split: Split, folders: readonly string[]): string {
  const { name, files, sources } = dataset;
  const found = findSplit(dataset, split, folders);
  if (found !== undefined) return found;
  const wanted = files[split] ?? [];
  if (wanted.length === 0) throw new DataError(`data set ${name} has no ${split} set`);
  const pulled = sources.length > 0 ? `\`graft datasets pull ${name}\` fetches it, ` : "";
  const where = folders.length > 0 ? `in ${folders.join(", ")} or the llm-adapters folder below` : "in no folder";
  throw new DataError(
    `data set ${name}: there is no ${split} set; looked for ${wanted.join(" or ")} (or with .gz) ${where}; ${pulled}--data-dir names a folder that has it`,
  );
}

/** Is a file of the split there? */
export function hasDataset<D extends Doc>(dataset: Dataset<D>, split: Split, folders: readonly string[]): boolean {
  return findSplit(dataset, split, folders) !== undefined;
}

function findSplit<D extends Doc>({ files }: Dataset<D>, split: Split, folders: readonly string[]): string | undefined {
  const names = files[split] ?? [];
  const places = [
    ...names.filter((name) => isAbsolute(name)),
    ...folders.flatMap((folder) =>
      names.filter((name) => !isAbsolute(name)).flatMap((name) => BELOW.map((below) => join(folder, below, name))),
    ),
  ];
  return places.flatMap((place) => [place, `${place}.gz`]).find((place) => existsSync(place));
}
