/** Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34), half-split (LLaMA, NeoX) and interleaved (GPT-J). */
import { elementsOf, grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";

/**
 * Rotates pairs of the first 2 * half columns of each head by the angle of the token's position; the rest is copied.
 * x, y: [tokens, heads, headDim]; positions: [tokens]; cos, sin: [table rows, half]. `inverse` rotates back (the gradient).
 * Positions beyond the table use its last row. A thread does one pair, or, with `wide`, four (see `ropeIsWide`).
 */
export const rope = defineKernel<
  { interleaved: boolean; inverse: boolean; wide: boolean },
  "tokens" | "heads" | "headDim" | "half" | "tableRows",
  "x" | "positions" | "cos" | "sin" | "y"
>({
  name: "rope",
  dims: { tokens: "u32", heads: "u32", headDim: "u32", half: "u32", tableRows: "u32" },
  bindings: ({ wide }) => ({
    x: { type: elementsOf(wide), access: "read" },
    positions: { type: "i32", access: "read" },
    cos: { type: elementsOf(wide), access: "read" },
    sin: { type: elementsOf(wide), access: "read" },
    y: { type: elementsOf(wide), access: "read_write" },
  }),
  wgsl: ({ interleaved, inverse, wide }) => `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  let half = dims.half${wide ? " / 4u" : ""};
  let pairs = dims.headDim / ${wide ? 8 : 2}u;
  if (i >= dims.tokens * dims.heads * pairs) { return; }
  let pair = i % pairs;
  let begin = (i / pairs) * 2u * pairs;
  if (pair >= half) {
    y[begin + 2u * pair] = x[begin + 2u * pair];
    y[begin + 2u * pair + 1u] = x[begin + 2u * pair + 1u];
    return;
  }
  let row = min(u32(max(positions[i / (pairs * dims.heads)], 0)), dims.tableRows - 1u);
  let c = cos[row * half + pair];
  let s = ${inverse ? "-" : ""}sin[row * half + pair];
  let first = begin + ${interleaved ? "2u * pair" : "pair"};
  let second = first + ${interleaved ? "1u" : "half"};
  let a = x[first];
  let b = x[second];
  y[first] = a * c - b * s;
  y[second] = b * c + a * s;
}`,
  grid: ({ tokens, heads, headDim }, { wide }) => grid1d((tokens * heads * headDim) / (wide ? 8 : 2)),
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
  atScale: {
    statics: { interleaved: false, inverse: false, wide: true },
    dims: { tokens: 512, heads: 16, headDim: 64, half: 32, tableRows: 512 },
    fill: { positions: (i) => i },
  },
  cases: [false, true].flatMap((interleaved) =>
    [false, true]
      .map((inverse) => ({
        name: `${interleaved ? "interleaved" : "half-split"}${inverse ? " inverse" : ""}, a part of the head`,
        statics: { interleaved, inverse, wide: false },
        dims: { tokens: 5, heads: 3, headDim: 10, half: 4, tableRows: 7 },
        fill: { positions: (i: number) => [0, 3, 6, 1, 9][i]! },
      }))
      .concat(
        interleaved
          ? []
          : [8, 12].map((half) => ({
              name: `wide, ${2 * half} of 24 columns`,
              statics: { interleaved, inverse: half === 8, wide: true },
              dims: { tokens: 5, heads: 3, headDim: 24, half, tableRows: 7 },
              fill: { positions: (i: number) => [0, 3, 6, 1, 9][i]! },
            })),
      ),
  ),
});

/** Can four pairs be rotated at once? Head and table rows must be made of whole quads, the members of a pair in different ones. */
export function ropeIsWide(headDim: number, half: number, interleaved: boolean): boolean {
  return !interleaved && half % 4 === 0 && headDim % 8 === 0;
}
