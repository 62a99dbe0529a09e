/** A device that is lost says so, to who waits and to who uses it. */
import { expect, test } from "bun:test";
import { DeviceLost, openDevice } from "../src/index.ts";

test("an uncaptured error loses the device: `lost` resolves and each use throws", async () => {
  const device = await openDevice();
  // A buffer that can be mapped for reading and for writing is not allowed.
  device.gpu.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.MAP_WRITE });
  await device.idle().catch(() => undefined);
  const error = await device.lost;
  expect(error).toBeInstanceOf(DeviceLost);
  expect(error.message).toContain("uncaptured error");
  expect(() => device.assertAlive()).toThrow(error.message);
  await device.close();
});

test("a device that was closed was not lost", async () => {
  const device = await openDevice();
  let isLost = false;
  void device.lost.then(() => (isLost = true));
  await device.close();
  await device.gpu.lost;
  expect(isLost).toBe(false);
  expect(() => device.assertAlive()).toThrow("it was closed");
});

test("tuning that skips software drivers is not there on one", async () => {
  const tuning = { cacheDir: undefined, skipSoftware: true };
  const device = await openDevice({ tuning });
  expect(device.tuner === undefined).toBe(device.capabilities.isSoftware);
  await device.close();
});
