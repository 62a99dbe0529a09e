import type { QuantizedType } from "@graft/kernels";
import type { Spec } from "./graph.ts";

/** Specs for op cases. */
export const f32 = (...shape: number[]): Spec => ({ shape, dtype: "f32" });
export const i32 = (...shape: number[]): Spec => ({ shape, dtype: "i32" });
export const quantized = (dtype: QuantizedType, rows: number, columns: number): Spec => ({
  shape: [rows, columns],
  dtype,
});
