/** Cases of matrix products with quantised weights. */
import type { KernelCase } from "../kernel.ts";
import { GROUP_WORDS } from "../weight-storage.ts";
import type { MatmulBuffers, MatmulDims, MatmulStatics } from "./matmul.ts";

type Case = KernelCase<MatmulStatics, MatmulDims, MatmulBuffers>;

const noiseWord = (i: number): number => Math.imul(i + 1, 0x9e3779b1) >>> 0;

/** A group's scale 1/448 and offset 1, then codes of either sign and any size but NaN. */
const noiseBlockScale = (i: number): number => {
  const inGroup = i % GROUP_WORDS;
  if (inGroup === 0) return 0x3b124925; // 1 / 448
  return inGroup === 1 ? 0x3f800000 : (noiseWord(i) & 0xfefefefe) >>> 0;
};

/** Such that an element is in (-1, 1). */
const noiseScale = (i: number): number => (noiseWord(i) / 2 ** 31 - 1) / 128;

/** Tiles whose rows of b are whole blocks: columns and steps of a lane. From [n, k] both loads of four and of eight; from [k, n] turns of one step and of several. */
const blockTiles = {
  bT: [
    { columns: 1, depth: 8 },
    { columns: 4, depth: 4 },
    { columns: 2, depth: 8 },
  ],
  b: [
    { columns: 4, depth: 1 },
    { columns: 8, depth: 1 },
    { columns: 16, depth: 1 },
    { columns: 16, depth: 4 },
  ],
} as const;

/** Codes in every layout that models have: odd sizes; four at a time; rows that are whole blocks; and the rest of a matrix whose first rows are bound elsewhere. */
export function quantizedCases(
  plain: MatmulStatics,
  at: (m: number, n: number, k: number, transA?: boolean) => Case["dims"],
): Case[] {
  const all: Case[] = [];
  for (const bType of ["int8", "int8_columns", "nf4"] as const) {
    const fill: Case["fill"] = { b: noiseWord, b_scales: bType === "nf4" ? noiseBlockScale : noiseScale };
    for (const transB of [false, true]) {
      const add = (name: string, statics: Partial<MatmulStatics>, dims: Case["dims"]): void => {
        const layout = `${bType} ${statics.transA ? "aT" : "a"} ${transB ? "bT" : "b"}`;
        all.push({ name: `${layout} ${name}`, statics: { ...plain, transB, bType, ...statics }, dims, fill });
      };
      const wide = { wide: true, columns: transB ? 2 : 8, depth: transB ? 8 : 4 };
      const fours = (transA: boolean) => (transB ? at(7, 19, 12, transA) : at(7, 44, 13, transA));
      for (const transA of [false, true]) {
        add("odd sizes", { transA }, at(5, 19, 13, transA));
        add("wide", { ...wide, transA }, fours(transA));
      }
      add("later rows", {}, { ...at(5, 19, 13), bBegin: 7 });
      add("wide, later rows", wide, { ...fours(false), bBegin: 1500 });
      const shared = { variant: "shared", rows: 4, columns: 4, depth: 16 } as const;
      add("odd sizes, shared", shared, at(70, 65, 33));
      add("wide, shared", { ...shared, wide: true }, fours(false));
      add("wide, shared, later rows", { ...shared, wide: true }, { ...at(20, 128, 192), bBegin: 100 });
      if (bType !== "nf4") continue;
      for (const { columns, depth } of blockTiles[transB ? "bT" : "b"]) {
        const tile = { wide: true, alignedK: true, alignedBlocks: true, columns, depth };
        const name = `whole blocks, ${columns} columns, depth ${depth}`;
        add(name, tile, at(6, 192, 128));
        add(`${name}, later rows`, tile, { ...at(2, 64, 64), bBegin: 300 });
      }
      if (!transB)
        add("whole blocks, odd k", { wide: true, alignedBlocks: true, columns: 16, depth: 4 }, at(3, 64, 13));
    }
  }
  return all;
}
