/** Errors between the two processes: a class's name and a message become an error of that class again. */
import { CheckpointError, ConfigError, DataError, ShapeError, UnknownName } from "@graft/core/errors";
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
  DeviceLost,
  DeviceOutOfMemory,
  DeviceUnavailable,
  DeviceValidationError,
  KernelError,
  Error,
} as const satisfies Record<string, new (message: string) => Error>;
export type ErrorName = keyof typeof classes;
export const errorNames = Object.keys(classes) as [ErrorName, ...ErrorName[]];

export interface WireError {
  readonly name: ErrorName;
  readonly message: string;
}

/** An error of no class of ours crosses as Error, with its own name in front where that says something. */
export function toWire(error: unknown): WireError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const known = errorNames.find((name) => name !== "Error" && error instanceof classes[name]);
  if (known) return { name: known, message: error.message };
  return { name: "Error", message: error.name === "Error" ? error.message : `${error.name}: ${error.message}` };
}

export function fromWire({ name, message }: WireError): Error {
  return new classes[name](message);
}
