/**
 * Prints what kind of adapter WebGPU finds with the environment as it is: `gpu`, `lavapipe` or `software` (any other driver on the CPU).
 * Exits 1 with the reason on stderr if there is none.
 */
import { adapterKind, openDevice } from "../packages/kernels/src/index.ts";

try {
  const device = await openDevice();
  console.log(adapterKind(device));
  await device.close();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
