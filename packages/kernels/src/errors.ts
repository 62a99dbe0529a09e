/** What can go wrong on a device. Each message names the place, the rule and what was given. */

/** No adapter, a missing feature, or a limit the caller asked for that the adapter does not have. */
export class DeviceUnavailable extends Error {
  override name = "DeviceUnavailable";
}

/** The driver refused a command: the message names the kernel and the sizes of its buffers. */
export class DeviceValidationError extends Error {
  override name = "DeviceValidationError";
}

/** A buffer or a dispatch did not fit in device memory. */
export class DeviceOutOfMemory extends Error {
  override name = "DeviceOutOfMemory";
}

/** The device is gone (driver crash, reset, unplugged). Nothing on it can be used again. */
export class DeviceLost extends Error {
  override name = "DeviceLost";
}

/** A kernel was called with dims, statics or buffers that do not fit its definition. */
export class KernelError extends Error {
  override name = "KernelError";
}
