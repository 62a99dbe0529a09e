/** Errors between the two processes: a class's name and a message become an error of that class again. */
import {
  CheckpointError,
  ConfigError,
  DataError,
  DeadlineExceeded,
  EngineBusy,
  ShapeError,
  UnknownName,
} from "@graft/core/errors";
import {
  DeviceLost,
  DeviceOutOfMemory,
  DeviceUnavailable,
  DeviceValidationError,
  KernelError,
} from "@graft/kernels/errors";

const classes = {
  UnknownName,
  ConfigError,
  CheckpointError,
  DataError,
  ShapeError,
  DeadlineExceeded,
  EngineBusy,
  DeviceLost,
  DeviceOutOfMemory,
  DeviceUnavailable,
  DeviceValidationError,
  KernelError,
  Error,
} as const;
export type ErrorName = keyof typeof classes;
export const errorNames = Object.keys(classes) as [ErrorName, ...ErrorName[]];

export interface WireError {
  readonly name: ErrorName;
  readonly message: string;
  /** Of EngineBusy. */
  readonly retryAfterSeconds?: number;
}

/** An error of no class of ours crosses as Error, with its own name in front where that says something. */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  if (error instanceof EngineBusy)
    return { name: "EngineBusy", message: error.message, retryAfterSeconds: error.retryAfterSeconds };
  const known = errorNames.find((name) => name !== "Error" && error instanceof classes[name]);
  if (known) return { name: known, message: error.message };
  return { name: "Error", message: error.name === "Error" ? error.message : `${error.name}: ${error.message}` };
}

export function fromWire({ name, message, retryAfterSeconds = 1 }: WireError): Error {
  if (name === "EngineBusy") return new EngineBusy(message, retryAfterSeconds);
  return new classes[name](message);
}
