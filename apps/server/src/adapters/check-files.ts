/** Whether files are an adapter of the base: found on the host, before anything else sees them. */
import { type Base, checkAdapter } from "@graft/adapters";
import { CheckpointError, ConfigError, DataError, ShapeError, UnknownName } from "@graft/core/errors";
import type { NewVersion } from "../db/index.ts";
import { ApiError } from "../errors.ts";

/** What a version's row says of its files. */
export type VersionFacts = Pick<NewVersion, "hash" | "method" | "parameters" | "bytes" | "virtualTokens">;

/** What files can be wrong in. RangeError: sizes that no array can have. */
const FAULTS = [CheckpointError, ConfigError, DataError, ShapeError, UnknownName, RangeError] as const;

/**
 * Throws ApiError 400 that names the file, and the tensor or field. `from`: where the files came from, which stands in messages instead of `folder`; "" for a client's own.
 */
export async function checkFiles(folder: string, base: Base, from: string): Promise<VersionFacts> {
  return faultsNamed(folder, from, async () => {
    const { version: hash, method, parameters, bytes, virtualTokens } = await checkAdapter(folder, base);
    return { hash, method, parameters, bytes, virtualTokens };
  });
}

/** Runs work on a folder. What it finds wrong with the files becomes an ApiError 400, in words that say `from` for the folder. */
export async function faultsNamed<T>(folder: string, from: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof Error) || !FAULTS.some((fault) => cause instanceof fault)) throw cause;
    const message = cause.message
      .replaceAll(`${folder}/`, from === "" ? "" : `${from}/`)
      .replaceAll(folder, from === "" ? "the adapter" : from);
    const file = /adapter_(?:config\.json|model\.(?:safetensors|bin))/.exec(message)?.[0];
    throw new ApiError(400, message, { code: "invalid_adapter", ...(file === undefined ? {} : { param: file }) });
  }
}
