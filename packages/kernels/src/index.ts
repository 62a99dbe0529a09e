export * from "./device.ts";
export * from "./errors.ts";
export * from "./grid.ts";
export * from "./kernel.ts";
export { kernels } from "./registry.ts";
export { unary } from "./kernels/unary.ts";
