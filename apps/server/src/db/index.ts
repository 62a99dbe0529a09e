/** The database and the data directory alone, for programs that serve nothing. */
export type { AdapterDetails, AdapterRow, AdapterStore, NewVersion, VersionRow } from "./adapters.ts";
export { type Blob, type BlobContent, type Blobs, type IsUsed, openBlobs, type Swept } from "./blobs.ts";
export { type DataLock, lockData } from "./data-lock.ts";
export { StorageError } from "./driver.ts";
export type { FileFilter, FileRow, FileStore } from "./files.ts";
export { type Item, packItems, unpackItems } from "./items.ts";
export { isFinal } from "./job-state.ts";
export type { CheckpointRow, EventRow, JobFilter, JobRow, JobStore, NewCheckpoint, NewEvent, NewJob } from "./jobs.ts";
export type { KeyIdentity, KeyRow, KeyStore, NewKey } from "./keys.ts";
export type { OrderedPageOptions, Page, PageOptions } from "./page.ts";
export type {
  ListedRun,
  NewResult,
  NewRun,
  ResultRow,
  ResultSummary,
  RunDetails,
  RunFilter,
  RunRow,
  RunStore,
} from "./runs.ts";
export {
  type FileFormat,
  fileFormats,
  type JobError,
  type JobProgress,
  type JobState,
  jobStates,
  noProgress,
  type RunKind,
  runKinds,
  type RunState,
  runStates,
  type Scope,
  scopes,
  type VersionSource,
} from "./shapes.ts";
export { databaseName, isDatabaseUrl, openStore, type Store, type StoreLocation } from "./store.ts";
