/** One step of a long short-term memory (Hochreiter & Schmidhuber 1997), elementwise part and its gradient; gates in torch's order: input, forget, cell, output. */
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

const FUNCTIONS = `
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-x)); }
// tanh of drivers returns NaN for large arguments.
fn tanh_safe(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }
`;
const GATES = `
  let at = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (at >= dims.rows * dims.hidden) { return; }
  let first = (at / dims.hidden) * 4u * dims.hidden + at % dims.hidden;
  let i = sigmoid(gates[first]);
  let f = sigmoid(gates[first + dims.hidden]);
  let g = tanh_safe(gates[first + 2u * dims.hidden]);
  let o = sigmoid(gates[first + 3u * dims.hidden]);
  let cell = f * c[at] + i * g;`;

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const dims = { rows: "u32", hidden: "u32" } as const;
const cases = [
  { name: "one", statics: {}, dims: { rows: 1, hidden: 1 } },
  { name: "rows", statics: {}, dims: { rows: 3, hidden: WORKGROUP / 2 + 3 } },
];
const atScale = { statics: {}, dims: { rows: 1, hidden: 4096 } };

/** next = f c + i g, h = o tanh(next), with i, f, o = sigmoid and g = tanh of their gates. gates: [rows, 4 hidden]; c, h, next: [rows, hidden]. */
export const lstmCell = defineKernel<Record<never, never>, "rows" | "hidden", "gates" | "c" | "h" | "next">({
  name: "lstm_cell",
  dims,
  bindings: () => ({ gates: read, c: read, h: write, next: write }),
  wgsl: () => `${FUNCTIONS}
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {${GATES}
  next[at] = cell;
  h[at] = o * tanh_safe(cell);
}`,
  grid: ({ rows, hidden }) => grid1d(rows * hidden),
  sizes: ({ rows, hidden }) => ({ gates: 4 * rows * hidden, c: rows * hidden, h: rows * hidden, next: rows * hidden }),
  reference({ gates, c, h, next }, { rows, hidden }) {
    eachCell(gates, c, rows, hidden, (at, _first, { o, cell }) => {
      next[at] = cell;
      h[at] = o * Math.tanh(cell);
    });
  },
  cost: ({ rows, hidden }) => ({ flops: 30 * rows * hidden, bytes: 28 * rows * hidden }),
  atScale,
  cases,
});

/** Gradients of lstm_cell from those of its outputs, gh and gnext [rows, hidden]: dgates [rows, 4 hidden], dc [rows, hidden]. */
export const lstmCellGrad = defineKernel<
  Record<never, never>,
  "rows" | "hidden",
  "gates" | "c" | "gh" | "gnext" | "dgates" | "dc"
>({
  name: "lstm_cell_grad",
  dims,
  bindings: () => ({ gates: read, c: read, gh: read, gnext: read, dgates: write, dc: write }),
  wgsl: () => `${FUNCTIONS}
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {${GATES}
  let t = tanh_safe(cell);
  let gcell = gnext[at] + gh[at] * o * (1.0 - t * t);
  dgates[first] = gcell * g * i * (1.0 - i);
  dgates[first + dims.hidden] = gcell * c[at] * f * (1.0 - f);
  dgates[first + 2u * dims.hidden] = gcell * i * (1.0 - g * g);
  dgates[first + 3u * dims.hidden] = gh[at] * t * o * (1.0 - o);
  dc[at] = gcell * f;
}`,
  grid: ({ rows, hidden }) => grid1d(rows * hidden),
  sizes: ({ rows, hidden }) => {
    const [cells, gates] = [rows * hidden, 4 * rows * hidden];
    return { gates, c: cells, gh: cells, gnext: cells, dgates: gates, dc: cells };
  },
  reference({ gates, c, gh, gnext, dgates, dc }, { rows, hidden }) {
    eachCell(gates, c, rows, hidden, (at, first, { i, f, g, o, cell }) => {
      const t = Math.tanh(cell);
      const gcell = gnext[at]! + gh[at]! * o * (1 - t * t);
      dgates[first] = gcell * g * i * (1 - i);
      dgates[first + hidden] = gcell * c[at]! * f * (1 - f);
      dgates[first + 2 * hidden] = gcell * i * (1 - g * g);
      dgates[first + 3 * hidden] = gh[at]! * t * o * (1 - o);
      dc[at] = gcell * f;
    });
  },
  cost: ({ rows, hidden }) => ({ flops: 50 * rows * hidden, bytes: 48 * rows * hidden }),
  atScale,
  cases,
});

type Cell = Readonly<Record<"i" | "f" | "g" | "o" | "cell", number>>;

/** `first`: index of the cell's input gate. */
function eachCell(
  gates: ArrayLike<number>,
  c: ArrayLike<number>,
  rows: number,
  hidden: number,
  use: (at: number, first: number, cell: Cell) => void,
): void {
  for (let at = 0; at < rows * hidden; at++) {
    const first = Math.floor(at / hidden) * 4 * hidden + (at % hidden);
    const i = sigmoid(gates[first]!);
    const f = sigmoid(gates[first + hidden]!);
    const g = Math.tanh(gates[first + 2 * hidden]!);
    const o = sigmoid(gates[first + 3 * hidden]!);
    use(at, first, { i, f, g, o, cell: f * c[at]! + i * g });
  }
}
