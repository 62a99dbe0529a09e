export * from "./adapter.ts";
export { baseOf, makeBase, openBaseFolder } from "./base.ts";
export * from "./combine/combine.ts";
export * from "./convert.ts";
export * from "./merge.ts";
export type { Base, BoundMethod, Method } from "./method.ts";
export { lora, type LoraConfig } from "./methods/lora.ts";
export { newConfig } from "./new-config.ts";
export { type MethodName, methods } from "./registry.ts";
