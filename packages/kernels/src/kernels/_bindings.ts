/** Bindings that most kernels are made of. */
import type { Binding } from "../kernel.ts";

export const read: Binding = { type: "f32", access: "read" };
export const write: Binding = { type: "f32", access: "read_write" };
export const ids: Binding = { type: "i32", access: "read" };
