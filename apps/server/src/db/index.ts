/** The database alone, for programs that serve nothing. */
export { type Item, packItems, unpackItems } from "./items.ts";
export {
  databaseName,
  type ListedRun,
  type NewResult,
  type NewRun,
  type ResultRow,
  type ResultSummary,
  type RunDetails,
  type RunFilter,
  type RunRow,
  Store,
} from "./store.ts";
export { type RunKind, runKinds, type RunState, runStates } from "./schema.ts";
