export * from "./atomic.ts";
export * from "./checkpoint.ts";
export * from "./dtype.ts";
export * from "./json.ts";
export * from "./safetensors.ts";
