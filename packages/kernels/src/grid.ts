/** Threads per workgroup of one-thread-per-element kernels. */
export const WORKGROUP = 64;

/** Workgroups for one thread per element. */
export function grid1d(count: number, perGroup: number = WORKGROUP): number {
  return Math.ceil(count / perGroup);
}
