/** Prints "gpu" or "software" for the adapter that WebGPU finds with the environment as it is; exits 1 if there is none. */
import { openDevice } from "../packages/kernels/src/index.ts";

try {
  const device = await openDevice();
  console.log(device.capabilities.isSoftware ? "software" : "gpu");
  await device.close();
} catch {
  process.exitCode = 1;
}
