/** Errors a caller may want to tell apart. Each message says where, which rule, what was given, and what to do. */

/** Tensor shapes or dtypes that do not fit an op. */
export class ShapeError extends Error {
  override name = "ShapeError";
}

/** An operation that cannot be done row by row with tensors of several adapters: such adapters run on all rows instead. */
export class StackError extends Error {
  override name = "StackError";
}

/** A model or adapter file that is damaged, incomplete or does not fit: names the file and the tensor. */
export class CheckpointError extends Error {
  override name = "CheckpointError";
}

/** A configuration value that is missing, of the wrong type or out of range: names the file or flag and the field. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

/** A data file or a row that cannot be used: names the file, the line and the field. */
export class DataError extends Error {
  override name = "DataError";
}

/** A name that nothing has. The message lists near names. */
export class UnknownName extends Error {
  override name = "UnknownName";
}

/** A model that could not be fetched from the hub, and is not in the cache. */
export class DownloadError extends Error {
  override name = "DownloadError";
}

/** Too many tokens wait already: says after how many seconds another request may be taken. */
export class EngineBusy extends Error {
  override name = "EngineBusy";
  readonly retryAfterSeconds: number;

  constructor(message: string, retryAfterSeconds: number) {
    super(message);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** A request that was not done within the time it gave. */
export class DeadlineExceeded extends Error {
  override name = "DeadlineExceeded";
}

export { nearNames, suggest } from "./suggest.ts";
