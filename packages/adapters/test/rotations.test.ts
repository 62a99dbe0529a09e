/** OFT and BOFT against their definitions, dense and in plain loops. */
import { expect, test } from "bun:test";
import type { Base } from "../src/method.ts";
import { bindAdapter } from "../src/index.ts";
import { identity, inverseOf, type Matrix, matrix, multiply, transposed, added } from "../src/linear-algebra.ts";
import { neumannSeries } from "../src/methods/_rotation.ts";
import { nearestDivisor } from "../src/methods/oft.ts";

const [inDim, outDim] = [24, 3];
const weight = Float32Array.from({ length: outDim * inDim }, (_, at) => Math.sin(1 + at));
/** One linear layer, so that only the rotation is looked at. */
const base: Base = {
  sites: [
    {
      kind: "linear",
      name: "layer",
      weight: "layer.weight",
      inDim,
      outDim,
      fanInFanOut: false,
      hasBias: false,
      isHead: false,
      layer: undefined,
    },
  ],
  modelType: "none",
  sizes: { vocabSize: 1, hiddenSize: inDim, layers: 1, heads: 1, kvHeads: 1, headDim: inDim, maxLength: 1 },
  parameters: ["layer.weight"],
  shapeOf: () => [outDim, inDim],
  read: async () => weight,
};

async function mergedBy(config: object, values: Readonly<Record<string, Float32Array>>): Promise<Matrix> {
  const bound = bindAdapter({ target_modules: ["layer"], ...config } as never, base, "test");
  if (typeof bound.merge !== "function") throw new Error("it merges");
  const named = Object.entries(values).map(([name, own]) => [`base_model.model.layer.${name}`, own] as const);
  return matrix(outDim, inDim, await bound.merge(new Map(named)).get("layer.weight")!());
}

function expectNear(got: Matrix, want: Matrix, tolerance = 1e-6): void {
  for (const [at, x] of want.data.entries()) expect(Math.abs(got.data[at]! - x)).toBeLessThan(tolerance);
}

/** Blocks on the diagonal of an [inDim, inDim] matrix. */
function blockDiagonal(blocks: readonly Matrix[]): Matrix {
  const out = matrix(inDim, inDim);
  const size = blocks[0]!.rows;
  for (const [b, block] of blocks.entries())
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) out.data[(b * size + i) * inDim + b * size + j] = block.data[i * size + j]!;
  return out;
}

test.each([1, 2, 3])(
  "BOFT of %p factors is the product of permuted block-diagonal Cayley rotations",
  async (factors) => {
    const [size, blocks] = [2, 12];
    const r = Float32Array.from({ length: factors * blocks * size * size }, (_, at) => 0.6 * Math.sin(2 + 3 * at));
    const s = Float32Array.of(0.5, 1, 2);
    let M = identity(inDim);
    for (let i = 0; i < factors; i++) {
      const D = blockDiagonal(
        Array.from({ length: blocks }, (_, b) => {
          const own = matrix(size, size, r.subarray((i * blocks + b) * 4, (i * blocks + b + 1) * 4));
          const S = matrix(
            size,
            size,
            added(own, transposed(own), -1).data.map((x) => x / 2),
          );
          return multiply(added(identity(size), S, -1), inverseOf(added(identity(size), S)));
        }),
      );
      // The permutation takes, inside stretches of 2^i blocks, first the even and then the odd half-blocks.
      const P = matrix(inDim, inDim);
      const stretch = size * 2 ** i;
      const chunk = size / 2;
      for (let begin = 0; begin < inDim; begin += stretch) {
        const chunks = Array.from({ length: stretch / chunk }, (_, c) => c);
        const order = [...chunks.filter((c) => c % 2 === 0), ...chunks.filter((c) => c % 2 === 1)];
        for (const [to, from] of order.entries())
          for (let c = 0; c < chunk; c++) P.data[(begin + to * chunk + c) * inDim + begin + from * chunk + c] = 1;
      }
      M = multiply(multiply(multiply(P, D), transposed(P)), M);
    }
    const want = transposed(multiply(M, transposed(matrix(outDim, inDim, weight))));
    for (let at = 0; at < want.data.length; at++) want.data[at] = want.data[at]! * s[Math.floor(at / inDim)]!;
    const got = await mergedBy(
      { peft_type: "BOFT", boft_block_size: size, boft_n_butterfly_factor: factors },
      { boft_R: r, boft_s: s },
    );
    expectNear(got, want);
  },
);

test("OFT turns each block of columns by the Cayley rotation of its skew-symmetric matrix; the series comes near it", async () => {
  const size = 3;
  const blocks = inDim / size;
  const packed = Float32Array.from({ length: blocks * 3 }, (_, at) => 0.1 * Math.sin(at));
  const D = blockDiagonal(
    Array.from({ length: blocks }, (_, b) => {
      const [x, y, z] = packed.subarray(3 * b, 3 * b + 3) as unknown as [number, number, number];
      const S = matrix(3, 3, [0, x, y, -x, 0, z, -y, -z, 0]);
      // (1 + S)(1 - S)^-1 is what the series begins: 1 + 2 S + 2 S^2 + ..
      return multiply(added(identity(3), S), inverseOf(added(identity(3), S, -1)));
    }),
  );
  const want = (R: Matrix) => transposed(multiply(R, transposed(matrix(outDim, inDim, weight))));
  const values = { "oft_R.weight": packed };
  const exact = { peft_type: "OFT", oft_block_size: size, use_cayley_neumann: false };
  // PEFT's exact form turns the other way than its series.
  expectNear(await mergedBy(exact, values), want(transposed(D)));
  expectNear(await mergedBy({ peft_type: "OFT", oft_block_size: size }, values), want(D), 1e-3);
});

test("the series has PEFT's coefficients", () => {
  expect([1, 2, 3, 4, 5, 6].map(neumannSeries)).toEqual([
    [1],
    [1, 2],
    [1, 2, 2, 1],
    [1, 2, 2, 1],
    [1, 2, 2, 2, 1],
    [1, 2, 2, 2, 2, 1],
  ]);
});

test("a block size that does not divide goes to the nearest that does, as in PEFT", () => {
  const cases = [
    [24, 5, 4],
    [24, 7, 6],
    [24, 9, 8],
    [24, 100, 24],
    [7, 3, 1],
  ] as const;
  for (const [dimension, wanted, near] of cases) expect(nearestDivisor(dimension, wanted)).toBe(near);
});
