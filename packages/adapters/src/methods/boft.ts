/** BOFT: s o f(R x), R a product of butterfly factors, each orthogonal and block-diagonal up to a permutation (Liu et al. 2023, arXiv:2311.06243, section 4). */
import { ConfigError } from "@graft/core/errors";
import type { Tensor } from "@graft/core/graph";
import type { LinearSite } from "@graft/core/nn";
import { add, einsum, fill, mulColumns, reshape, scale, slice, swapAxes } from "@graft/core/ops";
import { z } from "zod";
import { added, type Matrix, matrix, scaledRows, transposed } from "../linear-algebra.ts";
import { type Binding, defineLinearMethod, type LinearAdapter, type LinearCall } from "../linear-method.ts";
import { keyOf } from "../replaced.ts";
import { constant, normal } from "../starts.ts";
import { layerFields, refuseDropout, targetFields } from "../target-config.ts";
import { rotationOf, rotationOnHost, turnColumns } from "./_rotation.ts";

const boftConfig = z.looseObject({
  ...targetFields,
  ...layerFields,
  /** Size of the blocks, or their number: the other one is 0. */
  boft_block_size: z.int().min(0).default(4),
  boft_block_num: z.int().min(0).default(0),
  boft_n_butterfly_factor: z.int().min(1, "boft_n_butterfly_factor must be at least 1").default(1),
  boft_dropout: z.number().min(0).lt(1).default(0),
  fan_in_fan_out: z.boolean().default(false),
  bias: z.enum(["none", "all", "boft_only"]).default("none"),
  init_weights: z.boolean().default(true),
});
type BoftConfig = z.output<typeof boftConfig>;
type Names = "boft_R" | "boft_s";

const cayley = { kind: "cayley" } as const;

export const boft = defineLinearMethod<BoftConfig>({
  name: "boft",
  peftType: "BOFT",
  tiny: { boft_block_size: 4 },
  sizeFields: ["boft_block_size", "boft_block_num", "boft_n_butterfly_factor"],
  config: boftConfig as z.ZodType<BoftConfig>,
  startsAsIdentity: (config) => config.init_weights,
  check(config, binding) {
    const { boft_block_size: size, boft_block_num: count } = config;
    if ((size === 0) === (count === 0))
      throw new ConfigError(
        `${binding.where}: boft_block_size is ${size} and boft_block_num ${count}; one of them must be 0, for their product is the layer's width`,
      );
    refuseDropout(config, ["boft_dropout"], binding);
  },
  at(site, config, binding): LinearAdapter<Names> {
    const { outDim, hasBias } = site;
    const { factors, blocks, size } = blocksOf(site, config, binding);
    const [R, s] = [
      [factors, blocks, size, size],
      [outDim, 1],
    ];
    return {
      parameters: config.init_weights
        ? { boft_R: constant(0, R), boft_s: constant(1, s) }
        : { boft_R: normal(0.1, R), boft_s: normal(0.1, s, 1) },
      apply(call, { boft_R, boft_s }) {
        const raw = reshape(boft_R, [factors * blocks, size, size]);
        const rotations = rotationOf(scale(add(raw, scale(swapAxes(raw, 1), -1)), 0.5), cayley);
        let x = call.x;
        // R = B_last .. B_1 B_0 stands to the right of x.
        for (let i = factors - 1; i >= 0; i--) x = turnButterfly(x, rotations, { i, factors, blocks, size });
        return scaledOutput({ ...call, x }, boft_s, hasBias);
      },
      merge(weight, { boft_R, boft_s }) {
        let turned = weight;
        for (let i = 0; i < factors; i++) {
          const rotations = Array.from({ length: blocks }, (_, block) =>
            rotationOnHost(skewPart(boft_R, i * blocks + block, size), cayley),
          );
          turned = turnColumns(turned, rotations, (block, at) => butterflyColumn(block, at, i, size));
        }
        return scaledRows(turned, boft_s.data);
      },
    };
  },
});

interface Factor {
  readonly i: number;
  readonly factors: number;
  readonly blocks: number;
  readonly size: number;
}

/**
 * x B_i. Columns are [group, half, s, chunk] with 2^i values of s and chunks of half a block; a block of factor i has both halves of one s: for i = 0 a stretch of
 * columns, then of chunks that lie further and further apart.
 */
function turnButterfly(x: Tensor, rotations: Tensor, { i, factors, blocks, size }: Factor): Tensor {
  const own = slice(reshape(rotations, [factors, blocks, size * size]), 0, i, 1);
  if (i === 0)
    return reshape(
      einsum("tki,kij->tkj", reshape(x, [x.shape[0]!, blocks, size]), reshape(own, [blocks, size, size])),
      x.shape,
    );
  const [groups, apart, chunk] = [blocks / 2 ** i, 2 ** i, size / 2];
  const columns = reshape(x, [x.shape[0]!, groups, 2, apart, chunk]);
  const turned = einsum("tghsc,gshckd->tgksd", columns, reshape(own, [groups, apart, 2, chunk, 2, chunk]));
  return reshape(turned, x.shape);
}

/** Entry `at` of a block of factor i: see turnButterfly. */
function butterflyColumn(block: number, at: number, i: number, size: number): number {
  if (i === 0) return block * size + at;
  const [apart, chunk] = [2 ** i, size / 2];
  const [group, s, half] = [Math.floor(block / apart), block % apart, Math.floor(at / chunk)];
  return ((group * 2 + half) * apart + s) * chunk + (at % chunk);
}

/** s o (W x) + bias: the bias is not scaled. */
function scaledOutput({ x, f, multiply }: LinearCall, s: Tensor, hasBias: boolean): Tensor {
  if (!hasBias) return mulColumns(f(x), s);
  const more = add(s, fill(s.graph, s.shape, -1));
  return add(f(x), mulColumns(multiply(x), more));
}

/** (R - R^T) / 2 of one block. */
function skewPart(all: Matrix, block: number, size: number): Matrix {
  const own = matrix(size, size, all.data.subarray(block * size * size, (block + 1) * size * size));
  const difference = added(own, transposed(own), -1);
  return { ...difference, data: difference.data.map((x) => x / 2) };
}

/**
 * Sizes at a site. A file says itself how many factors it has: where PEFT finds no CUDA compiler it trains one, whatever the config says.
 * Throws ConfigError where they do not divide the layer's width.
 */
function blocksOf({ name, inDim }: LinearSite, config: BoftConfig, { where, shapeInFile }: Binding) {
  const factors = shapeInFile(`${keyOf(name)}.boft_R`)?.[0] ?? config.boft_n_butterfly_factor;
  const size = config.boft_block_size || inDim / config.boft_block_num;
  const blocks = inDim / size;
  const at = `${where}: ${name} has ${inDim} inputs`;
  if (!Number.isInteger(size) || !Number.isInteger(blocks))
    throw new ConfigError(
      `${at}, no multiple of ${config.boft_block_size ? "boft_block_size" : "boft_block_num"} ${config.boft_block_size || config.boft_block_num}`,
    );
  if (factors > 1 && (size % 2 !== 0 || blocks % 2 ** (factors - 1) !== 0))
    throw new ConfigError(
      `${at}: ${factors} butterfly factors need blocks of even size, a multiple of ${2 ** (factors - 1)} of them; there are ${blocks} of size ${size}`,
    );
  return { factors, blocks, size };
}
