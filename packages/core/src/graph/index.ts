export * from "./arena.ts";
export { type Footprint, footprintOf } from "./footprint.ts";
export { grad } from "./grad.ts";
export * from "./graph.ts";
export { interpret } from "./interpret.ts";
export * from "./op.ts";
export * from "./plan.ts";
export * from "./program.ts";
export { liveNodes } from "./prune.ts";
