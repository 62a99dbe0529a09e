/** Opening the device as the command line does: with tuning where it pays. */
import { type Device, openDevice } from "@graft/kernels";
import { join } from "node:path";
import { config } from "./config.ts";

/**
 * The fastest device. Matrix products are tuned at first use on GPUs and the findings kept in the cache folder; a driver on the CPU goes by measured rules. GRAFT_TUNE=on and
 * GRAFT_TUNE=off decide otherwise. Tuning changes times, never results.
 */
export async function openCommandDevice(): Promise<Device> {
  const tuning = { cacheDir: join(config.cacheDir, "tuning") };
  if (config.tune !== undefined) return openDevice(config.tune ? { tuning } : {});
  const device = await openDevice();
  if (device.capabilities.isSoftware) return device;
  await device.close();
  return openDevice({ tuning });
}
