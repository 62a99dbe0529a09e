export { type Beam, BeamSearch, type Hypothesis } from "./beam.ts";
export * from "./generator.ts";
export * from "./language-model.ts";
export * from "./logits.ts";
export * from "./memory.ts";
export { type CacheOptions, PagedForward, type Row } from "./paged-forward.ts";
export { PageAllocator } from "./pages.ts";
export * from "./text-model.ts";
