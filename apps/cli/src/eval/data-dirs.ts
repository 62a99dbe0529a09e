/** Where the files of tasks are. */
import { join } from "node:path";
import { config } from "../config.ts";

/** The folders that are searched, in this order: those given, what `graft datasets pull` has fetched, what comes with Graft. */
export function dataDirsOf(given: readonly string[]): string[] {
  return [...given, join(config.dataDir, "datasets"), join(config.root, "models/data")];
}
