/** Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34), half-split (LLaMA, NeoX) and interleaved (GPT-J). */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";

/**
 * Rotates pairs of the first 2 * half columns of each head by the angle of the token's position; the rest is copied.
 * x, y: [tokens, heads, headDim]; positions: [tokens]; cos, sin: [table rows, half]. `inverse` rotates back (the gradient).
 * Positions beyond the table use its last row.
 */
export const rope = defineKernel<
  { interleaved: boolean; inverse: boolean },
  "tokens" | "heads" | "headDim" | "half" | "tableRows",
  "x" | "positions" | "cos" | "sin" | "y"
>({
  name: "rope",
  dims: { tokens: "u32", heads: "u32", headDim: "u32", half: "u32", tableRows: "u32" },
  bindings: () => ({
    x: { type: "f32", access: "read" },
    positions: { type: "i32", access: "read" },
    cos: { type: "f32", access: "read" },
    sin: { type: "f32", access: "read" },
    y: { type: "f32", access: "read_write" },
  }),
  wgsl: ({ interleaved, inverse }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= dims.tokens * dims.heads * dims.headDim) { return; }
  let d = i % dims.headDim;
  if (d >= 2u * dims.half) { y[i] = x[i]; return; }
  let token = i / (dims.headDim * dims.heads);
  ${
    interleaved
      ? "let pair = d / 2u; let is_second = d % 2u == 1u; let other = select(i + 1u, i - 1u, is_second);"
      : "let pair = d % dims.half; let is_second = d >= dims.half; let other = select(i + dims.half, i - dims.half, is_second);"
  }
  let row = min(u32(max(positions[token], 0)), dims.tableRows - 1u);
  let c = cos[row * dims.half + pair];
  let s = ${inverse ? "-" : ""}sin[row * dims.half + pair];
  y[i] = x[i] * c + select(-x[other], x[other], is_second) * s;
}`,
  grid: ({ tokens, heads, headDim }) => grid1d(tokens * heads * headDim),
  sizes: ({ tokens, heads, headDim, half, tableRows }) => ({
    x: tokens * heads * headDim,
    positions: tokens,
    cos: tableRows * half,
    sin: tableRows * half,
    y: tokens * heads * headDim,
  }),
  reference({ x, positions, cos, sin, y }, { tokens, heads, headDim, half, tableRows }, { interleaved, inverse }) {
    for (let t = 0; t < tokens; t++) {
      const row = Math.min(Math.max(positions[t]!, 0), tableRows - 1);
      for (let h = 0; h < heads; h++) {
        const begin = (t * heads + h) * headDim;
        for (let d = 0; d < headDim; d++) y[begin + d] = x[begin + d]!;
        for (let p = 0; p < half; p++) {
          const [i, j] = interleaved ? [begin + 2 * p, begin + 2 * p + 1] : [begin + p, begin + half + p];
          const c = cos[row * half + p]!;
          const s = (inverse ? -1 : 1) * sin[row * half + p]!;
          const [a, b] = [x[i]!, x[j]!];
          y[i] = a * c - b * s;
          y[j] = b * c + a * s;
        }
      }
    }
  },
  cost: ({ tokens, heads, headDim }) => ({ flops: 3 * tokens * heads * headDim, bytes: 8 * tokens * heads * headDim }),
  cases: [false, true].flatMap((interleaved) =>
    [false, true].map((inverse) => ({
      name: `${interleaved ? "interleaved" : "half-split"}${inverse ? " inverse" : ""}, a part of the head`,
      statics: { interleaved, inverse },
      dims: { tokens: 5, heads: 3, headDim: 10, half: 4, tableRows: 7 },
      fill: { positions: (i: number) => [0, 3, 6, 1, 9][i]! },
    })),
  ),
});
