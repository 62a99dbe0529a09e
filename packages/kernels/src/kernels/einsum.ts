/** Products of two small tensors over any of their dimensions: block-diagonal, batched and Kronecker products. */
import { KernelError } from "../errors.ts";
import { grid1d, WORKGROUP } from "../grid.ts";
import { defineKernel } from "../kernel.ts";
import { ROW_MAIN_ARGUMENTS } from "../row.ts";
import { read, write } from "./_bindings.ts";

/** "ab,bc->ac" taken apart; `letters` in the order in which they first occur, `summed` those that the output has not. */
export interface EinsumSpec {
  readonly a: string;
  readonly b: string;
  readonly y: string;
  readonly letters: readonly string[];
  readonly summed: readonly string[];
}

/** Sizes of at most so many letters. */
const SIZES = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9"] as const;
type Size = (typeof SIZES)[number];

/** Each letter stands once in an operand, and in at least two of the three. */
export function parseEinsum(spec: string): EinsumSpec {
  const [, a = "", b = "", y = ""] = /^([a-z]+),([a-z]+)->([a-z]+)$/.exec(spec) ?? [];
  const letters = [...new Set(a + b + y)];
  const isSound =
    letters.length > 0 &&
    letters.length <= SIZES.length &&
    [a, b, y].every((term) => new Set(term).size === term.length) &&
    letters.every((letter) => [a, b, y].filter((term) => term.includes(letter)).length > 1);
  if (!isSound)
    throw new KernelError(
      `einsum: "${spec}" must be like "ab,bc->ac", each letter in two or three of the terms, at most ${SIZES.length} letters`,
    );
  return { a, b, y, letters, summed: letters.filter((letter) => !y.includes(letter)) };
}

/** Dims of a call: the size of each letter. */
export function einsumDims({ letters }: EinsumSpec, sizeOf: (letter: string) => number): Record<Size, number> {
  return Object.fromEntries(SIZES.map((name, i) => [name, i < letters.length ? sizeOf(letters[i]!) : 1])) as Record<
    Size,
    number
  >;
}

/** y = sum of a b over the letters that y has not, one thread for each element of y; row-major, sums in f32 in the order of the letters. */
export const einsum = defineKernel<{ spec: string }, Size, "a" | "b" | "y">({
  name: "einsum",
  dims: Object.fromEntries(SIZES.map((name) => [name, "u32"])) as Record<Size, "u32">,
  bindings: () => ({ a: read, b: read, y: write }),
  wgsl({ spec }) {
    const { a, b, y, letters, summed } = parseEinsum(spec);
    const size = (letter: string) => `dims.n${letters.indexOf(letter)}`;
    const at = (term: string) =>
      [...term].reduce((sum, l) => (sum === "" ? `i_${l}` : `(${sum}) * ${size(l)} + i_${l}`), "");
    const loops = summed.map((l) => `for (var i_${l} = 0u; i_${l} < ${size(l)}; i_${l}++) {`).join(" ");
    return `
@compute @workgroup_size(${WORKGROUP})
fn main(${ROW_MAIN_ARGUMENTS}) {
  let i = workgroup_index(group, groups) * ${WORKGROUP}u + lane;
  if (i >= ${[...y].map(size).join(" * ")}) { return; }
  var rest = i;
  ${[...y]
    .toReversed()
    .map((l) => `let i_${l} = rest % ${size(l)}; rest /= ${size(l)};`)
    .join("\n  ")}
  var sum = 0.0;
  ${loops} sum = fma(a[${at(a)}], b[${at(b)}], sum); ${"}".repeat(summed.length)}
  y[i] = sum;
}`;
  },
  grid: (dims, { spec }) => grid1d(count(parseEinsum(spec), "y", dims)),
  sizes(dims, { spec }) {
    const parsed = parseEinsum(spec);
    return { a: count(parsed, "a", dims), b: count(parsed, "b", dims), y: count(parsed, "y", dims) };
  },
  reference({ a, b, y }, dims, { spec }) {
    const parsed = parseEinsum(spec);
    const { letters } = parsed;
    const sizes = letters.map((_, i) => dims[SIZES[i]!]);
    const strides = (["a", "b", "y"] as const).map((term) => stridesOf(parsed, term, sizes));
    y.fill(0, 0, count(parsed, "y", dims));
    const index = letters.map(() => 0);
    const total = sizes.reduce((product, n) => product * n, 1);
    for (let n = 0; n < total; n++) {
      const [atA, atB, atY] = strides.map((own) => own.reduce((sum, stride, i) => sum + stride * index[i]!, 0));
      y[atY!] = y[atY!]! + a[atA!]! * b[atB!]!;
      for (let i = letters.length - 1; i >= 0 && ++index[i]! === sizes[i]; i--) index[i] = 0;
    }
  },
  cost(dims, { spec }) {
    const parsed = parseEinsum(spec);
    const moved = count(parsed, "a", dims) + count(parsed, "b", dims) + count(parsed, "y", dims);
    return { flops: 2 * parsed.letters.reduce((product, _, i) => product * dims[SIZES[i]!], 1), bytes: 4 * moved };
  },
  atScale: { statics: { spec: "tki,kij->tkj" }, dims: sizes(512, 32, 32, 32) },
  cases: [
    { name: "one element", statics: { spec: "a,a->a" }, dims: sizes(1) },
    { name: "batched", statics: { spec: "bmk,bkn->bmn" }, dims: sizes(3, 5, 7, 4) },
    { name: "block-diagonal", statics: { spec: "tki,kij->tkj" }, dims: sizes(9, 5, 4, 3) },
    { name: "two sums", statics: { spec: "tab,tib->ai" }, dims: sizes(6, 5, 4, 7) },
    { name: "nine letters", statics: { spec: "tchsr,cshrwq->tcwsq" }, dims: sizes(3, 2, 2, 3, 2, 2, 2) },
    { name: "over a workgroup", statics: { spec: "ab,bc->ac" }, dims: sizes(19, 3, 23) },
  ],
});

function sizes(...of: readonly number[]): Record<Size, number> {
  return Object.fromEntries(SIZES.map((name, i) => [name, of[i] ?? 1])) as Record<Size, number>;
}

function count({ letters, ...terms }: EinsumSpec, term: "a" | "b" | "y", dims: Readonly<Record<Size, number>>): number {
  return [...terms[term]].reduce((product, letter) => product * dims[SIZES[letters.indexOf(letter)]!], 1);
}

/** Row-major steps of each letter in a term; 0 where the term has it not. */
function stridesOf(
  { letters, ...terms }: EinsumSpec,
  term: "a" | "b" | "y",
  sizesOfLetters: readonly number[],
): readonly number[] {
  const own = letters.map(() => 0);
  let stride = 1;
  for (const letter of [...terms[term]].toReversed()) {
    const i = letters.indexOf(letter);
    own[i] = stride;
    stride *= sizesOfLetters[i]!;
  }
  return own;
}
