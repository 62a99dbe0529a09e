/** Opening the device as the command line does: with tuning where it pays. */
import { type Device, openDevice } from "@graft/kernels";
import { tuning } from "./tuning.ts";

/** The fastest device, tuned as tuning.ts says. */
export function openCommandDevice(): Promise<Device> {
  return openDevice(tuning ? { tuning } : {});
}
