/** Skew-symmetric matrices from the entries above their diagonals, and the gradient of that. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** Place of entry (i, j), i < j, in the rows above the diagonal of a [size, size] matrix, one after the other. */
const PACKED_WGSL = "fn packed(i: u32, j: u32) -> u32 { return i * (2u * dims.size - i - 1u) / 2u + j - i - 1u; }";
const packed = (i: number, j: number, size: number): number => (i * (2 * size - i - 1)) / 2 + j - i - 1;

const sizes = ({ count, size }: { readonly count: number; readonly size: number }) => ({
  x: (count * size * (size - 1)) / 2,
  y: count * size * size,
});
const dims = { count: "u32", size: "u32" } as const;
const cost = (of: { readonly count: number; readonly size: number }) => {
  const { x, y } = sizes(of);
  return { flops: y, bytes: 4 * (x + y) };
};
const cases = [
  { name: "3 of 5x5", statics: {}, dims: { count: 3, size: 5 } },
  { name: "1 of 2x2", statics: {}, dims: { count: 1, size: 2 } },
  { name: "2 of 17x17", statics: {}, dims: { count: 2, size: 17 } },
];

/** y[m, i, j] = x[m, packed(i, j)] above the diagonal, the negative below, 0 on it. x: [count, size (size - 1) / 2]; y: [count, size, size]. */
export const skew = defineKernel<Record<never, never>, "count" | "size", "x" | "y">({
  name: "skew",
  dims,
  bindings: () => ({ x: read, y: write }),
  wgsl: () => `${PACKED_WGSL}
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let at = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (at >= dims.count * dims.size * dims.size) { return; }
  let i = (at / dims.size) % dims.size;
  let j = at % dims.size;
  let begin = at / (dims.size * dims.size) * (dims.size * (dims.size - 1u) / 2u);
  if (i == j) { y[at] = 0.0; } else if (i < j) { y[at] = x[begin + packed(i, j)]; } else { y[at] = -x[begin + packed(j, i)]; }
}`,
  grid: (of) => grid1d(sizes(of).y),
  sizes,
  reference({ x, y }, { count, size }) {
    const each = (size * (size - 1)) / 2;
    for (let m = 0; m < count; m++) {
      for (let i = 0; i < size; i++) {
        y[(m * size + i) * size + i] = 0;
        for (let j = i + 1; j < size; j++) {
          const value = x[m * each + packed(i, j, size)]!;
          y[(m * size + i) * size + j] = value;
          y[(m * size + j) * size + i] = -value;
        }
      }
    }
  },
  cost,
  atScale: { statics: {}, dims: { count: 128, size: 32 } },
  cases,
});

/** x[m, packed(i, j)] = y[m, i, j] - y[m, j, i]: what flows back through `skew`. */
export const skewGrad = defineKernel<Record<never, never>, "count" | "size", "y" | "x">({
  name: "skew_grad",
  dims,
  bindings: () => ({ y: read, x: write }),
  wgsl: () => `${PACKED_WGSL}
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let at = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (at >= dims.count * dims.size * dims.size) { return; }
  let i = (at / dims.size) % dims.size;
  let j = at % dims.size;
  if (i >= j) { return; }
  let m = at / (dims.size * dims.size);
  x[m * (dims.size * (dims.size - 1u) / 2u) + packed(i, j)] = y[at] - y[(m * dims.size + j) * dims.size + i];
}`,
  grid: (of) => grid1d(sizes(of).y),
  sizes,
  reference({ x, y }, { count, size }) {
    const each = (size * (size - 1)) / 2;
    for (let m = 0; m < count; m++)
      for (let i = 0; i < size; i++)
        for (let j = i + 1; j < size; j++)
          x[m * each + packed(i, j, size)] = y[(m * size + i) * size + j]! - y[(m * size + j) * size + i]!;
  },
  cost,
  atScale: { statics: {}, dims: { count: 128, size: 32 } },
  cases,
});
