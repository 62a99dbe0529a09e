export { activationNames } from "./activation-name.ts";
export * from "./adapter.ts";
export * from "./adapter-stack.ts";
export * from "./adapter-weights.ts";
export * from "./context.ts";
export { type AdapterMix, mixedHooks, once } from "./mixed.ts";
export * from "./rope-table.ts";
export * from "./site.ts";
export * from "./virtual-tokens.ts";
