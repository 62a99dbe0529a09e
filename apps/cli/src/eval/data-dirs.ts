/** Where the files of tasks are. */
import { join } from "node:path";
import { config } from "../config.ts";

/** What `graft datasets pull` fetches. */
export const pulledDatasets = join(config.dataDir, "datasets");

/** The folders that are searched, in this order: those given, what was pulled, what comes with Graft. */
export function dataDirsOf(given: readonly string[]): string[] {
  return [...given, pulledDatasets, join(config.root, "models/data")];
}
