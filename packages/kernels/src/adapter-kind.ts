import type { Device } from "./device.ts";

/** What runs a device's kernels: a GPU, Mesa's lavapipe, or another driver on the CPU. */
export function adapterKind(device: Device): "gpu" | "lavapipe" | "software" {
  if (!device.capabilities.isSoftware) return "gpu";
  return [device.info.device, device.info.description].some((name) => name.startsWith("llvmpipe"))
    ? "lavapipe"
    : "software";
}
