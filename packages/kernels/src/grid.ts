/** Threads per workgroup of one-thread-per-element kernels. */
export const WORKGROUP = 64;

/** Workgroups for one thread per element. */
export function grid1d(count: number, perGroup: number = WORKGROUP): number {
  return Math.ceil(count / perGroup);
}

/** Can elementwise work be done four at a time? A vector load costs about as much as one or two scalar ones, on GPUs and on CPU drivers. */
export function isWide(count: number): boolean {
  return count % 4 === 0;
}

/** Element type of a binding that is read one or four at a time. */
export function elementsOf(wide: boolean): "f32" | "vec4<f32>" {
  return wide ? "vec4<f32>" : "f32";
}
