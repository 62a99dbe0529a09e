/** Where files are published. */
import type { DatasetSource } from "../dataset.ts";

/** Files of LLM-Adapters' repository, by default the test set. Its main branch carries no version: the first pull records what came. */
export function llmAdapters(folder: string, splits: readonly ("test" | "train")[] = ["test"]): DatasetSource[] {
  return splits.map((split) => ({
    url: `https://raw.githubusercontent.com/AGI-Edgerunners/LLM-Adapters/main/dataset/${folder}/${split}.json`,
    path: `${folder}/${split}.json`,
  }));
}
