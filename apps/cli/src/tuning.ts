/** Which tuning a device of the command line gets, for one opened here or in the server's engine process. */
import type { TuningOptions } from "@graft/kernels";
import { join } from "node:path";
import { config } from "./config.ts";

/**
 * Matrix products are tuned at first use on GPUs and the findings kept in the cache folder; a driver on the CPU goes by measured rules. GRAFT_TUNE=on and
 * GRAFT_TUNE=off decide otherwise. Tuning changes times, never results.
 */
export const tuning = (
  config.tune === false
    ? undefined
    : { cacheDir: join(config.cacheDir, "tuning"), skipSoftware: config.tune === undefined }
) satisfies TuningOptions | undefined;
