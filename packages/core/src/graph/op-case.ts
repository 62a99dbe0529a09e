import type { Spec } from "./graph.ts";

/** Specs for op cases. */
export const f32 = (...shape: number[]): Spec => ({ shape, dtype: "f32" });
export const i32 = (...shape: number[]): Spec => ({ shape, dtype: "i32" });
